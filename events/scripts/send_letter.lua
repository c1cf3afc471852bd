-- Put a dead letter into its stream again, behind everything, once. KEYS: prefix. ARGV: token, group, partition,
-- position, id, topic, key, time, payload.
if redis.call('HGET', bus, 'token') ~= ARGV[1] then return 'LOST' end
local stream = prefix .. ':events:' .. ARGV[3]
-- A sequence above 0, which no event has, and above that of every letter before. Every group reads the stream; the
-- others pass it by.
local id = redis.call('HGET', bus, 'published') .. '-' .. redis.call('HINCRBY', bus, 'letters', 1)
redis.call('XADD', stream, id, 'again', '1', 'event_id', ARGV[5],
    'topic', ARGV[6], 'key', ARGV[7], 'occurred_at', ARGV[8], 'payload', ARGV[9], 'letter', ARGV[4], 'for', ARGV[2])
redis.call('PUBLISH', prefix .. ':wake', '')
return 'DONE'
