-- Append events after the position published last, all or none. KEYS: prefix. ARGV: token, that position, the new one,
-- then for each event: partition, position, whether it may have been published before, id, topic, key, time, payload.
if redis.call('HGET', bus, 'token') ~= ARGV[1] then return 'LOST' end
if redis.call('HGET', bus, 'published') ~= ARGV[2] then return 'MOVED' end
for at = 4, #ARGV, 8 do
    redis.call('XADD', prefix .. ':events:' .. ARGV[at], ARGV[at + 1] .. '-0', 'again', ARGV[at + 2],
        'event_id', ARGV[at + 3], 'topic', ARGV[at + 4], 'key', ARGV[at + 5], 'occurred_at', ARGV[at + 6],
        'payload', ARGV[at + 7])
end
redis.call('HSET', bus, 'published', ARGV[3])
redis.call('PUBLISH', prefix .. ':wake', '')
return 'DONE'
