-- Takes, renews or gives up the lease of the ingest stream.
--
-- KEYS  the lease
-- ARGV  this node, how long it is to hold (ms; 0 gives it up)
-- Gives whether this node holds it, and the time (Unix, ms).

local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then
    return { 0, now }
end
if ARGV[2] == '0' then
    redis.call('DEL', KEYS[1])
    return { 0, now }
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return { 1, now }
