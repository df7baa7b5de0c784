-- Removes a client from a channel's presence.
--
-- KEYS  members, expiry, users
-- ARGV  client

local entry = redis.call('HGET', KEYS[1], ARGV[1])
redis.call('ZREM', KEYS[2], ARGV[1])
if not entry then
    return 0
end
redis.call('HDEL', KEYS[1], ARGV[1])
local length, from = string.match(entry, '^(%d+):()')
local user = string.sub(entry, from, from + tonumber(length) - 1)
if redis.call('HINCRBY', KEYS[3], user, -1) <= 0 then
    redis.call('HDEL', KEYS[3], user)
end
return 1
