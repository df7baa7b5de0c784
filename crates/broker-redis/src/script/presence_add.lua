-- Adds or refreshes a client that is present in a channel.
--
-- KEYS  members (client to entry), expiry (client by time), users (user to number of clients)
-- ARGV  client, entry (length of the user's id, ':', the id, and what Redis does not read), ttl (ms)

local function user_of(entry)
    local length, from = string.match(entry, '^(%d+):()')
    return string.sub(entry, from, from + tonumber(length) - 1)
end

local function forget_user(user)
    if redis.call('HINCRBY', KEYS[3], user, -1) <= 0 then
        redis.call('HDEL', KEYS[3], user)
    end
end

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

-- Where one of the three was evicted, the counts are no longer true: who is present says so again. Where there is
-- nothing, nothing is deleted: after any write Redis no longer refuses what it has no memory for.
local there = redis.call('EXISTS', KEYS[1], KEYS[2], KEYS[3])
if there ~= 0 and there ~= 3 then
    redis.call('DEL', KEYS[1], KEYS[2], KEYS[3])
end
for _, gone in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now, 'LIMIT', 0, 100)) do
    local entry = redis.call('HGET', KEYS[1], gone)
    redis.call('ZREM', KEYS[2], gone)
    redis.call('HDEL', KEYS[1], gone)
    if entry then
        forget_user(user_of(entry))
    end
end
local client, entry, ttl = ARGV[1], ARGV[2], tonumber(ARGV[3])
local before = redis.call('HGET', KEYS[1], client)
local user = user_of(entry)
if not before or user_of(before) ~= user then
    if before then
        forget_user(user_of(before))
    end
    redis.call('HINCRBY', KEYS[3], user, 1)
end
redis.call('HSET', KEYS[1], client, entry)
redis.call('ZADD', KEYS[2], string.format('%.0f', now + ttl), client)
for _, key in ipairs(KEYS) do
    if redis.call('PTTL', key) < ttl then
        redis.call('PEXPIRE', key, ARGV[3])
    end
end
return 1
