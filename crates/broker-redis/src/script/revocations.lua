-- Reads the revocations, a page at a time, unless they are at what the caller has.
--
-- KEYS  the hash of the revocations
-- ARGV  the life and version that the caller has, a cursor (0 at first), how many are wanted
-- Gives life and version; then, unless the caller has these, the next cursor (0 at the end), fields and values.

local at = redis.call('HMGET', KEYS[1], 'life', 'version')
local answer = { at[1] or '', at[2] or '0' }
if ARGV[3] == '0' and answer[1] == ARGV[1] and answer[2] == ARGV[2] then
    return answer
end
local page = redis.call('HSCAN', KEYS[1], ARGV[3], 'COUNT', ARGV[4])
table.insert(answer, page[1])
for _, word in ipairs(page[2]) do
    table.insert(answer, word)
end
return answer
