-- Does once what the other scripts do.
--
-- KEYS  a hash, a sorted set, a stream, all deleted at the end
-- ARGV  the command that publishes
-- Gives the names of the commands that the user may not use. What fails for another reason says nothing of rights.

local hash, set, stream = KEYS[1], KEYS[2], KEYS[3]
local calls = {
    { 'INFO', 'replication' },
    { 'TIME' },
    { 'EXISTS', hash },
    { 'HSET', hash, 'f', '1' },
    { 'HGET', hash, 'f' },
    { 'HMGET', hash, 'f' },
    { 'HGETALL', hash },
    { 'HVALS', hash },
    { 'HLEN', hash },
    { 'HSCAN', hash, '0' },
    { 'HINCRBY', hash, 'f', '1' },
    { 'HDEL', hash, 'f' },
    { 'PTTL', hash },
    { 'PEXPIRE', hash, '1000' },
    { 'ZADD', set, '1', 'm' },
    { 'ZCARD', set },
    { 'ZRANGE', set, '0', '-1' },
    { 'ZRANGEBYSCORE', set, '0', '1' },
    { 'ZREM', set, 'm' },
    { 'ZREMRANGEBYSCORE', set, '0', '1' },
    { 'XADD', stream, 'MAXLEN', '1', '1-0', 'd', '' },
    { 'XTRIM', stream, 'MINID', '1-0' },
    { 'XRANGE', stream, '-', '+', 'COUNT', '1' },
    { 'XREVRANGE', stream, '+', '-', 'COUNT', '1' },
    { 'XREAD', 'COUNT', '1', 'STREAMS', stream, '0' },
    { 'XLEN', stream },
    { 'XDEL', stream, '1-0' },
    { 'DEL', hash, set, stream },
    { 'SET', hash, '1', 'PX', '1000' },
    { 'GET', hash },
    { 'DEL', hash },
    { ARGV[1], hash, '' },
}
-- As Redis 7, Redis 6.2 and Valkey 9 say it.
local refusals = { 'NOPERM', "executing the script can't", 'ACL failure' }
local missing = {}
for _, call in ipairs(calls) do
    local answer = redis.pcall(unpack(call))
    local text = type(answer) == 'table' and answer.err or ''
    for _, refusal in ipairs(refusals) do
        if string.find(text, refusal, 1, true) then
            table.insert(missing, string.lower(call[1]))
        end
    end
end
return missing
