-- Reads who is present in a channel.
--
-- KEYS  members, expiry, users
-- ARGV  'all' or 'counts'
-- Gives the entries of all, or the numbers of clients and of users.
--
-- Whose time is over is removed first, so that the users' counts are true.

local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
for _, gone in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now)) do
    local entry = redis.call('HGET', KEYS[1], gone)
    redis.call('ZREM', KEYS[2], gone)
    redis.call('HDEL', KEYS[1], gone)
    if entry then
        local length, from = string.match(entry, '^(%d+):()')
        local user = string.sub(entry, from, from + tonumber(length) - 1)
        if redis.call('HINCRBY', KEYS[3], user, -1) <= 0 then
            redis.call('HDEL', KEYS[3], user)
        end
    end
end
if ARGV[1] == 'counts' then
    return { redis.call('ZCARD', KEYS[2]), redis.call('HLEN', KEYS[3]) }
end
return redis.call('HVALS', KEYS[1])
