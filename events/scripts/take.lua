-- Hold a partition that has something to deliver and give out its next entries.
-- KEYS: prefix. ARGV: group, lease in ms, most entries, where to begin looking, tries at most, what a dead holder's
-- entries are said to have died of.
local group, lease, limit = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local tries_max = tonumber(ARGV[5])
-- Who holds a partition is its lease's to say; to Redis every holder is the same one, or the dead would pile up.
local holder = 'holder'
if redis.call('HGET', bus, 'ready') ~= '1' then return {'WAIT'} end
if not is_filled_by_this_run() then return {'WAIT'} end
if redis.call('HEXISTS', prefix .. ':generations', group) == 0 then return {'NO GROUP'} end

local function field(entry, name)
    for at = 1, #entry[2], 2 do
        if entry[2][at] == name then return entry[2][at + 1] end
    end
end

-- What was given to somebody and not acknowledged. We are alone in the partition, so it is nobody's now.
local function left_over(stream, partition)
    local given = {}
    for _, each in ipairs(redis.call('XPENDING', stream, group, '-', '+', limit)) do
        local id, tries = each[1], tonumber(each[4])
        local entry = redis.call('XRANGE', stream, id, id)[1]
        if not entry then
            redis.call('XACK', stream, group, id)
        elseif #given == 0 and tries >= tries_max then
            local error = redis.call('HGET', prefix .. ':errors', group .. ':' .. partition) or ARGV[6]
            bury(stream, group, partition, entry, tries, error)
        elseif #given == 0 then
            redis.call('XCLAIM', stream, group, holder, 0, id, 'RETRYCOUNT', tries + 1, 'JUSTID')
            given[1] = {id, tries + 1, entry[2]}
        else
            -- Only the first one's tries are counted: the others only stand behind it.
            given[#given + 1] = {id, math.max(tries, 2), entry[2]}
        end
    end
    return given
end

local function what_is_new(stream)
    local given = {}
    local read = redis.call('XREADGROUP', 'GROUP', group, holder, 'COUNT', limit, 'STREAMS', stream, '>')
    for _, entry in ipairs(read and read[1][2] or {}) do
        local whose = field(entry, 'for')
        if whose and whose ~= group then
            redis.call('XACK', stream, group, entry[1])
        else
            given[#given + 1] = {entry[1], 1, entry[2]}
        end
    end
    return given
end

for step = 0, 15 do
    local partition = (tonumber(ARGV[4]) + step) % 16
    local place = group .. ':' .. partition
    local held = prefix .. ':lease:' .. place
    if redis.call('EXISTS', held, prefix .. ':pause:' .. place) == 0 then
        local stream = prefix .. ':events:' .. partition
        local given = left_over(stream, partition)
        if #given == 0 then given = what_is_new(stream) end
        if #given > 0 then
            local fence = redis.call('HINCRBY', bus, 'fence', 1)
            redis.call('SET', held, fence, 'PX', lease)
            return {'GIVEN', partition, fence, given}
        end
    end
end
return {'NOTHING'}
