-- Reads the positions of many channels and changes nothing.
--
-- KEYS  the metas
-- Gives one string for each: offset:epoch, or '' where there is no meta, or none of ours.

local info = redis.call('INFO', 'replication')
if not string.find(info, 'role:master', 1, true) then
    return redis.error_reply('READONLY this server is a replica')
end
local replid = string.sub(string.match(info, 'master_replid:(%x+)'), 1, 10)

local positions = {}
for at, meta in ipairs(KEYS) do
    -- A key that holds something else, and gives an error here, is one of which nothing is known.
    local state = redis.pcall('HMGET', meta, 'r', 'o')
    positions[at] = state[1] and state[2] and (state[2] .. ':' .. state[1] .. '.' .. replid) or ''
end
return positions
