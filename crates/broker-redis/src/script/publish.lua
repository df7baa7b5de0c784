-- Publishes to channels, each publication for itself: one that is refused leaves the others alone.
--
-- KEYS  three for each publication: meta, stream, result (meta again where there is no idempotency key)
-- ARGV  this node, the command that publishes; then twelve for each publication:
--       Redis channel, body, size, ttl, meta ttl, random part, number, idempotency window, version, version epoch,
--       most version epochs, entry. Times in milliseconds; '' is none; size 0 is live only.
-- Gives one string for each publication:
--       a, r, o (accepted, repeated by its key, outdated) and the position as offset:epoch, or - without one;
--       u  a number too old to know whether it was published already;
--       b  too many version epochs;
--       e  and the text of an error: nothing was written;
--       w  and the text of an error after the first write.
--
-- Everything that can refuse comes before the first write, since a script is not rolled back. Of the writes the one
-- that may fail, XADD, comes first.
--
-- An entry is the id of one of the ingest stream. The result then is the id of the last entry that was published to the
-- channel, and one that is not above it was published before.
--
-- A number is the node's own, rising, and makes sure that a publication that is sent twice is published once: the
-- meta remembers the last sixteen that came from the node, with their offsets, the highest of all, and the highest
-- that was forgotten, below which nothing is known.

local HEAD, RECORD, RECORDS = 12, 12, 16
local FIELDS = 12
-- A stream is trimmed once in so many publications: each time costs as much as three publications. What is beyond the
-- size until then is below the floor, which readers respect.
local SLACK = 16
local NODES_MAX, NODES_KEPT = 64, 32

-- Globals are looked up in a table each time: this many times for each publication, that shows.
local call, pcall_redis = redis.call, redis.pcall
local format, sub, pack, unpack_struct = string.format, string.sub, struct.pack, struct.unpack

local info = call('INFO', 'replication')
if not string.find(info, 'role:master', 1, true) then
    return redis.error_reply('READONLY this server is a replica')
end
local replid = string.match(info, 'master_replid:(%x%x%x%x%x%x%x%x%x%x)')
local node = 'n' .. ARGV[1]
-- Whether something of the present publication is written.
local written = false

local function above(one, other)
    if #one ~= #other then
        return #one > #other
    end
    return one > other
end

-- Whether an id of a stream is above another; above one that is none, too.
local function newer(one, other)
    local millis, sequence = string.match(one, '^(%d+)-(%d+)$')
    local other_millis, other_sequence = string.match(other, '^(%d+)-(%d+)$')
    if not millis or not other_millis or millis ~= other_millis then
        return not other_millis or above(millis, other_millis)
    end
    return above(sequence, other_sequence)
end

-- What the node published last: the highest number forgotten, the highest of all, and then the records, newest first.
local function remembered(text)
    if not text or #text < HEAD then
        return 0, 0
    end
    return unpack_struct('>I6I6', text)
end

local function offset_of(text, number)
    for at = HEAD + 1, text and #text or 0, RECORD do
        local one, offset = unpack_struct('>I6I6', text, at)
        if one == number then
            return offset
        end
    end
end

local function remember(text, forgotten, highest, number, offset)
    local records = text and sub(text, HEAD + 1, HEAD + RECORD * (RECORDS - 1)) or ''
    if text and #text >= HEAD + RECORD * RECORDS then
        forgotten = math.max(forgotten, (unpack_struct('>I6', text, HEAD + RECORD * (RECORDS - 1) + 1)))
    end
    return pack('>I6I6I6I6', forgotten, math.max(highest, number), number, offset) .. records
end

-- A channel that has heard from very many nodes forgets those that have been silent for longest.
local function forget_nodes(meta)
    local all, found = call('HGETALL', meta), {}
    for at = 1, #all, 2 do
        if sub(all[at], 1, 1) == 'n' and all[at] ~= node and #all[at + 1] >= 24 then
            local _, _, _, offset = unpack_struct('>I6I6I6I6', all[at + 1])
            table.insert(found, { all[at], offset })
        end
    end
    table.sort(found, function(one, other) return one[2] > other[2] end)
    for at = NODES_KEPT + 1, #found do
        call('HDEL', meta, found[at][1])
    end
end

local function append(stream, offset, body)
    return pcall_redis('XADD', stream, offset .. '-0', 'd', body)
end

local function trim(stream, before, floor, offset)
    if offset % SLACK == 0 or floor - before > SLACK then
        call('XTRIM', stream, 'MINID', format('%.0f-0', floor + 1))
    end
end

local function keep(k, a)
    local meta, stream, result = KEYS[k + 1], KEYS[k + 2], KEYS[k + 3]
    local channel, body, size, ttl, meta_ttl = ARGV[a + 1], ARGV[a + 2], ARGV[a + 3], ARGV[a + 4], ARGV[a + 5]
    local number, window, version = tonumber(ARGV[a + 7]), ARGV[a + 8], ARGV[a + 9]
    local version_field = 'v' .. ARGV[a + 10]
    local state = call('HMGET', meta, 'r', 'o', node, version_field, 'f')
    local random, offset, before, highest_version = state[1], tonumber(state[2]), state[3], state[4]
    local floor = tonumber(state[5]) or 0
    local fresh = not random or not offset
    if fresh then
        random, offset, before, highest_version, floor = ARGV[a + 6], 0, false, false, 0
    end
    local forgotten, highest = 0, 0
    if window == '' then
        forgotten, highest = remembered(before)
        if number <= highest then
            local first = offset_of(before, number)
            if first then
                return format('a%.0f:', first) .. random .. '.' .. replid
            elseif number <= forgotten then
                return 'u'
            end
        end
    end
    if version ~= '' then
        if highest_version and not above(version, highest_version) then
            return format('o%.0f:', offset) .. random .. '.' .. replid
        end
        if not highest_version and call('HLEN', meta) >= tonumber(ARGV[a + 11]) then
            return 'b'
        end
    end
    local placed = format('%.0f', offset + 1)
    local added = append(stream, placed, body)
    if type(added) == 'table' and added.err and string.find(added.err, 'equal or smaller', 1, true) then
        -- The stream is further than its meta, which therefore is of another time: the channel begins anew.
        call('DEL', meta, stream)
        random, offset, placed, before, floor, fresh = ARGV[a + 6], 0, '1', false, 0, true
        forgotten, highest = 0, 0
        added = append(stream, placed, body)
    end
    if type(added) == 'table' and added.err then
        return 'e' .. added.err
    end
    written = true
    if fresh then
        -- What is left of a meta that lacks its offset. Not sooner: after any write Redis no longer refuses what it has
        -- no memory for.
        call('DEL', meta)
    end
    local new_floor = math.max(floor, offset + 1 - tonumber(size))
    trim(stream, floor, new_floor, offset + 1)
    -- What is not new is not written again; fields that have nothing to say repeat the offset's.
    local other, value = 'o', placed
    if window == '' then
        other, value = node, remember(before, forgotten, highest, number, offset + 1)
    end
    if fresh then
        call('HSET', meta, 'r', random, 'o', placed, 'f', format('%.0f', new_floor), other, value)
    elseif new_floor ~= floor then
        call('HSET', meta, 'o', placed, 'f', format('%.0f', new_floor), other, value)
    else
        call('HSET', meta, 'o', placed, other, value)
    end
    if version ~= '' then
        call('HSET', meta, version_field, version)
    end
    if not before and window == '' and call('HLEN', meta) > NODES_MAX then
        forget_nodes(meta)
    end
    call('PEXPIRE', stream, ttl)
    call('PEXPIRE', meta, meta_ttl)
    local position = placed .. ':' .. random .. '.' .. replid
    if window ~= '' then
        local entry = ARGV[a + 12]
        call('SET', result, entry ~= '' and entry or position, 'PX', window)
    end
    call(ARGV[2], channel, '\1p' .. position .. ':' .. body)
    return 'a' .. position
end

local function publish(k, a)
    local window, entry = ARGV[a + 8], ARGV[a + 12]
    if window ~= '' then
        local first = call('GET', KEYS[k + 3])
        if first and entry == '' then
            return 'r' .. first
        elseif first and not newer(entry, first) then
            return 'r-'
        end
    end
    if ARGV[a + 3] ~= '0' then
        return keep(k, a)
    end
    call('SET', KEYS[k + 3], entry ~= '' and entry or '-', 'PX', window)
    written = true
    call(ARGV[2], ARGV[a + 1], '\1l' .. ARGV[a + 2])
    return 'a-'
end

local answers = {}
for at = 0, #KEYS / 3 - 1 do
    written = false
    local done, answer = pcall(publish, 3 * at, 2 + FIELDS * at)
    if not done then
        answer = (written and 'w' or 'e') .. (type(answer) == 'table' and answer.err or tostring(answer))
    end
    answers[at + 1] = answer
end
return answers
