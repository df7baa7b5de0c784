-- Reads a channel's position, and a part of its stream.
--
-- KEYS  meta, stream
-- ARGV  random part for a channel that has no meta, how long that one is kept (ms), limit, command (XRANGE or
--       XREVRANGE), first id, last id
-- Gives offset, epoch, entries.
--
-- A channel that was never published to gets its epoch here, so that whoever subscribes now holds a position that
-- the first publication continues. That meta lives for as long as somebody asks for it every now and then.

local info = redis.call('INFO', 'replication')
if not string.find(info, 'role:master', 1, true) then
    return redis.error_reply('READONLY this server is a replica')
end
local replid = string.sub(string.match(info, 'master_replid:(%x+)'), 1, 10)

local state = redis.call('HMGET', KEYS[1], 'r', 'o', 'f')
local random, offset, floor = state[1], tonumber(state[2]), tonumber(state[3]) or 0
if not random or not offset then
    random, offset = ARGV[1], 0
    redis.call('HSET', KEYS[1], 'r', random, 'o', '0')
    redis.call('DEL', KEYS[2])
    redis.call('PEXPIRE', KEYS[1], ARGV[2])
elseif offset == 0 and redis.call('PTTL', KEYS[1]) < tonumber(ARGV[2]) / 2 then
    redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
local entries = {}
if ARGV[3] ~= '0' then
    -- The stream may hold a few more than the channel keeps: those at and below the floor.
    local first, last, lowest = ARGV[5], ARGV[6], string.format('%.0f-0', floor + 1)
    if ARGV[4] == 'XREVRANGE' then
        last = lowest
    elseif first == '-' or tonumber(string.match(first, '%d+')) <= floor then
        first = lowest
    end
    entries = redis.call(ARGV[4], KEYS[2], first, last, 'COUNT', ARGV[3])
end
return { string.format('%.0f', offset), random .. '.' .. replid, entries }
