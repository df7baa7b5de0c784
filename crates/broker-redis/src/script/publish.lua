-- Publishes to channels, each publication for itself: one that is refused leaves the others alone.
--
-- KEYS  three for each publication: meta, stream, result (meta again where there is no idempotency key)
-- ARGV  this node, the command that publishes; then eleven for each publication:
--       Redis channel, body, size, ttl, meta ttl, random part, number, idempotency window, version, version epoch,
--       most version epochs. Times in milliseconds; '' is none; size 0 is live only.
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
-- A number is the node's own, rising, and makes sure that a publication that is sent twice is published once: the
-- meta remembers the last sixteen that came from the node, with their offsets, the highest of all, and the highest
-- that was forgotten, below which nothing is known.

local RECORD, RECORDS = 12, 16
local FIELDS = 11
-- A stream is trimmed once in so many publications: each time costs as much as three publications. What is beyond the
-- size until then is below the floor, which readers respect.
local SLACK = 16
local NODES_MAX, NODES_KEPT = 64, 32

local info = redis.call('INFO', 'replication')
if not string.find(info, 'role:master', 1, true) then
    return redis.error_reply('READONLY this server is a replica')
end
local replid = string.sub(string.match(info, 'master_replid:(%x+)'), 1, 10)
local node = 'n' .. ARGV[1]
-- Whether something of the present publication is written.
local written = false

local function above(one, other)
    if #one ~= #other then
        return #one > #other
    end
    return one > other
end

-- What the node published last: the highest number forgotten, the highest of all, and the records, newest first.
local function remembered(text)
    if not text or #text < 12 then
        return 0, 0, ''
    end
    local forgotten, highest = struct.unpack('>I6I6', text)
    return forgotten, highest, string.sub(text, 13)
end

local function offset_of(records, number)
    for at = 1, #records, RECORD do
        local one, offset = struct.unpack('>I6I6', records, at)
        if one == number then
            return offset
        end
    end
end

local function remember(text, number, offset)
    local forgotten, highest, records = remembered(text)
    if #records >= RECORD * RECORDS then
        local last = RECORD * (RECORDS - 1)
        forgotten = math.max(forgotten, (struct.unpack('>I6', records, last + 1)))
        records = string.sub(records, 1, last)
    end
    return struct.pack('>I6I6I6I6', forgotten, math.max(highest, number), number, offset) .. records
end

-- A channel that has heard from very many nodes forgets those that have been silent for longest.
local function forget_nodes(meta)
    local all, found = redis.call('HGETALL', meta), {}
    for at = 1, #all, 2 do
        if string.sub(all[at], 1, 1) == 'n' and all[at] ~= node and #all[at + 1] >= 24 then
            local _, _, _, offset = struct.unpack('>I6I6I6I6', all[at + 1])
            table.insert(found, { all[at], offset })
        end
    end
    table.sort(found, function(one, other) return one[2] > other[2] end)
    for at = NODES_KEPT + 1, #found do
        redis.call('HDEL', meta, found[at][1])
    end
end

local function append(stream, offset, body)
    return redis.pcall('XADD', stream, offset .. '-0', 'd', body)
end

local function trim(stream, before, floor, offset)
    if offset % SLACK == 0 or floor - before > SLACK then
        redis.call('XTRIM', stream, 'MINID', string.format('%.0f-0', floor + 1))
    end
end

local function keep(k, a)
    local meta, stream, result = KEYS[k + 1], KEYS[k + 2], KEYS[k + 3]
    local channel, body, size, ttl, meta_ttl = ARGV[a + 1], ARGV[a + 2], ARGV[a + 3], ARGV[a + 4], ARGV[a + 5]
    local number, window, version = tonumber(ARGV[a + 7]), ARGV[a + 8], ARGV[a + 9]
    local version_field = 'v' .. ARGV[a + 10]
    local state = redis.call('HMGET', meta, 'r', 'o', node, version_field, 'f')
    local random, offset, before, highest_version = state[1], tonumber(state[2]), state[3], state[4]
    local floor = tonumber(state[5]) or 0
    local fresh = not random or not offset
    if fresh then
        random, offset, before, highest_version, floor = ARGV[a + 6], 0, false, false, 0
    end
    local epoch = random .. '.' .. replid
    if window == '' then
        local forgotten, highest, records = remembered(before)
        if number <= highest then
            local first = offset_of(records, number)
            if first then
                return string.format('a%.0f:', first) .. epoch
            elseif number <= forgotten then
                return 'u'
            end
        end
    end
    if version ~= '' then
        if highest_version and not above(version, highest_version) then
            return string.format('o%.0f:', offset) .. epoch
        end
        if not highest_version and redis.call('HLEN', meta) >= tonumber(ARGV[a + 11]) then
            return 'b'
        end
    end
    local placed = string.format('%.0f', offset + 1)
    local added = append(stream, placed, body)
    if type(added) == 'table' and added.err and string.find(added.err, 'equal or smaller', 1, true) then
        -- The stream is further than its meta, which therefore is of another time: the channel begins anew.
        redis.call('DEL', meta, stream)
        random, offset, placed, before, floor = ARGV[a + 6], 0, '1', false, 0
        epoch = random .. '.' .. replid
        added = append(stream, placed, body)
    end
    if type(added) == 'table' and added.err then
        return 'e' .. added.err
    end
    written = true
    if fresh then
        -- What is left of a meta that lacks its offset. Not sooner: after any write Redis no longer refuses what it has
        -- no memory for.
        redis.call('DEL', meta)
    end
    local new_floor = math.max(floor, offset + 1 - tonumber(size))
    trim(stream, floor, new_floor, offset + 1)
    local changes = { 'r', random, 'o', placed, 'f', string.format('%.0f', new_floor) }
    if window == '' then
        table.insert(changes, node)
        table.insert(changes, remember(before, number, tonumber(placed)))
    end
    if version ~= '' then
        table.insert(changes, version_field)
        table.insert(changes, version)
    end
    redis.call('HSET', meta, unpack(changes))
    if not before and window == '' and redis.call('HLEN', meta) > NODES_MAX then
        forget_nodes(meta)
    end
    redis.call('PEXPIRE', stream, ttl)
    redis.call('PEXPIRE', meta, meta_ttl)
    local position = placed .. ':' .. epoch
    if window ~= '' then
        redis.call('SET', result, position, 'PX', window)
    end
    redis.call(ARGV[2], channel, '\1p' .. position .. ':' .. body)
    return 'a' .. position
end

local function publish(k, a)
    local window = ARGV[a + 8]
    if window ~= '' then
        local first = redis.call('GET', KEYS[k + 3])
        if first then
            return 'r' .. first
        end
    end
    if ARGV[a + 3] ~= '0' then
        return keep(k, a)
    end
    redis.call('SET', KEYS[k + 3], '-', 'PX', window)
    written = true
    redis.call(ARGV[2], ARGV[a + 1], '\1l' .. ARGV[a + 2])
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
