-- Says that a node is there, or that it leaves, and gives the nodes that are.
--
-- KEYS  the list of nodes, by the time when each counts as gone
-- ARGV  this node's entry, how long it counts (ms; 0 leaves)

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
if ARGV[2] == '0' then
    redis.call('ZREM', KEYS[1], ARGV[1])
else
    -- Nobody is listed for so long ahead, unless the clock has jumped back since.
    redis.call('ZREMRANGEBYSCORE', KEYS[1], now + 2 * ARGV[2], '+inf')
    redis.call('ZADD', KEYS[1], string.format('%.0f', now + ARGV[2]), ARGV[1])
    redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return redis.call('ZRANGE', KEYS[1], 0, -1)
