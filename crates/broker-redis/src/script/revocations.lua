-- Reads the revocations, a page at a time, unless they are at what the caller has.
--
-- KEYS  the hash of the revocations
-- ARGV  the life and version that the caller has, a cursor (0 at first), how many are wanted
-- Gives life and version; then, unless the caller has these, the next cursor (0 at the end), fields and values.
--
-- The life that is given names the server's history of writes as well: a replica that takes over has the same hash, but
-- may lack its last versions, and gives their numbers to other changes.

local info = redis.call('INFO', 'replication')
if not string.find(info, 'role:master', 1, true) then
    return redis.error_reply('READONLY this server is a replica')
end
local replid = string.sub(string.match(info, 'master_replid:(%x+)'), 1, 10)

local at = redis.call('HMGET', KEYS[1], 'life', 'version')
local answer = { at[1] and (at[1] .. '.' .. replid) or '', at[2] or '0' }
if ARGV[3] == '0' and answer[1] == ARGV[1] and answer[2] == ARGV[2] then
    return answer
end
local page = redis.call('HSCAN', KEYS[1], ARGV[3], 'COUNT', ARGV[4])
table.insert(answer, page[1])
for _, word in ipairs(page[2]) do
    table.insert(answer, word)
end
return answer
