-- What several scripts know and do; it stands before each of them.
local prefix = KEYS[1]
local bus = prefix .. ':bus'

-- This server as it runs now: one that was started again, or has taken over, may have lost what it was told last.
local function run_id()
    return string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
end

local function is_filled_by_this_run()
    return redis.call('HGET', bus, 'run') == run_id()
end

-- A group is done with an entry up to here.
local function acknowledge(stream, group, partition, id)
    redis.call('XACK', stream, group, id)
    redis.call('HSET', prefix .. ':acknowledged', group .. ':' .. partition, string.match(id, '^%d+'))
    redis.call('HDEL', prefix .. ':errors', group .. ':' .. partition)
end

-- Keep an entry that a group could not take for the relay to copy, and go on behind it.
local function bury(stream, group, partition, entry, tries, error)
    redis.call('XADD', prefix .. ':dead', '*', 'group', group, 'partition', partition, 'id', entry[1],
        'tries', tries, 'error', error, unpack(entry[2]))
    acknowledge(stream, group, partition, entry[1])
end

