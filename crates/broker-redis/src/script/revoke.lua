-- Keeps a revocation, or takes it back.
--
-- KEYS  a hash: the revocations by their field, and what they are at: `life` and `version`
--       a sorted set: the fields of those that expire, by the time (Unix, s)
-- ARGV  the field, issued before, the expiry or nothing, how many there may be, a name for a new life;
--       an empty `issued before` takes it back
-- Gives what became of it (kept, full, gone, none), life (as `revocations.lua` gives it) and version after it, and what
-- stands there now.

local info = redis.call('INFO', 'replication')
if not string.find(info, 'role:master', 1, true) then
    return redis.error_reply('READONLY this server is a replica')
end
local replid = string.sub(string.match(info, 'master_replid:(%x+)'), 1, 10)

local entries, expiry = KEYS[1], KEYS[2]
local field, before, expire_at = ARGV[1], ARGV[2], ARGV[3]

local now = redis.call('TIME')[1]
for _, expired in ipairs(redis.call('ZRANGEBYSCORE', expiry, '-inf', now, 'LIMIT', 0, 1000)) do
    redis.call('HDEL', entries, expired)
    redis.call('ZREM', expiry, expired)
end

local at = redis.call('HMGET', entries, 'life', 'version', field)
local life, version, kept = at[1] and (at[1] .. '.' .. replid) or '', at[2] or '0', at[3]
local held = redis.call('HLEN', entries) - (at[1] and 2 or 0)

local outcome, value = 'kept', ''
if before == '' then
    if not kept then
        return { 'none', life, version, '' }
    end
    outcome = 'gone'
    redis.call('HDEL', entries, field)
    redis.call('ZREM', expiry, field)
else
    if not kept and held >= tonumber(ARGV[4]) then
        return { 'full', life, version, '' }
    end
    local higher = kept and string.match(kept, '^(%d+) ')
    if higher and tonumber(higher) > tonumber(before) then
        before = higher
    end
    value = before .. ' ' .. expire_at
    redis.call('HSET', entries, field, value)
    if expire_at == '' then
        redis.call('ZREM', expiry, field)
    else
        redis.call('ZADD', expiry, expire_at, field)
    end
end
if life == '' then
    life = ARGV[5] .. '.' .. replid
    redis.call('HSET', entries, 'life', ARGV[5])
end
version = redis.call('HINCRBY', entries, 'version', 1)
return { outcome, life, string.format('%.0f', version), value }
