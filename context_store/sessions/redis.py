"""
The scripts by which sessions in Redis change: each is atomic, and all its keys are in one slot of Redis Cluster.

A session is four keys. ``info``: a hash with ``user_id``, ``created_at``, ``updated_at``, ``first`` and ``next``, the
numbers of the first message and of the one to come. ``metadata``: a hash of JSON texts. ``messages``: a list of JSON
texts. ``ids``: a sorted set of the messages' ids by number. A user's index is two sorted sets of session ids:
``updates`` by the time of the last write, ``expiries`` by the time at which the session will be gone.
"""

# KEYS: info, metadata, messages, ids. ARGV: the user whose sessions are visible or "", milliseconds to live or "".
SESSION = """
local info, metadata, messages, ids = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local scope, ttl = ARGV[1], ARGV[2]
local owner = redis.call('HGET', info, 'user_id')
local visible = owner and (scope == '' or owner == scope)
local function slide()
  for _, key in ipairs(KEYS) do
    if ttl == '' then redis.call('PERSIST', key) else redis.call('PEXPIRE', key, ttl) end
  end
end
local function number(field) return tonumber(redis.call('HGET', info, field)) end
local function whole(n) return string.format('%.0f', n) end
local function is_intact() return redis.call('LLEN', messages) == number('next') - number('first') end
local function described()
  return {owner, redis.call('HGET', info, 'created_at'), redis.call('HGET', info, 'updated_at'),
          redis.call('LLEN', messages), redis.call('HGETALL', metadata)}
end
local function write(now, new_owner)
  if not owner then
    owner = new_owner
    redis.call('HSET', info, 'user_id', owner, 'created_at', now, 'first', 0, 'next', 0)
    redis.call('DEL', metadata, messages, ids)
  end
  redis.call('HSET', info, 'updated_at', now)
end
local function push(from)
  local place = number('next')
  for index = from, #ARGV, 2 do
    redis.call('RPUSH', messages, ARGV[index + 1])
    redis.call('ZADD', ids, whole(place), ARGV[index])
    place = place + 1
  end
  redis.call('HSET', info, 'next', whole(place))
end
"""

# More ARGV: how many messages from the end, or "" for all; "1" to begin the time to live anew.
READ = (
    SESSION
    + """
if not visible then return {'missing'} end
if not is_intact() then return {'lost'} end
if ARGV[4] == '1' then slide() end
local shown = {}
if ARGV[3] == '' then
  shown = redis.call('LRANGE', messages, 0, -1)
elseif ARGV[3] ~= '0' then
  shown = redis.call('LRANGE', messages, '-' .. ARGV[3], -1)
end
return {'ok', described(), shown}
"""
)
# More ARGV: now, owner of a new session; then id and text of each message.
SAVE = (
    SESSION
    + """
if owner and not visible then return {'owner'} end
write(ARGV[3], ARGV[4])
redis.call('DEL', messages, ids)
redis.call('HSET', info, 'first', 0, 'next', 0)
push(5)
slide()
return {'ok', described()}
"""
)
# More ARGV: now, owner of a new session, most messages or "", an id that has to be there or ""; then id and text of
# each message. Known ids keep all from being written, and are answered with their numbers and texts.
APPEND = (
    SESSION
    + """
if owner and not visible then return {'owner'} end
if owner and not is_intact() then return {'lost'} end
if ARGV[6] ~= '' and not redis.call('ZSCORE', ids, ARGV[6]) then return {'changed'} end
local known = {}
for index = 7, #ARGV, 2 do
  local place = redis.call('ZSCORE', ids, ARGV[index])
  if place then
    known[#known + 1] = place
    known[#known + 1] = redis.call('LINDEX', messages, whole(tonumber(place) - number('first')))
  end
end
if #known > 0 then return {'known', described(), known} end
write(ARGV[3], ARGV[4])
push(7)
local excess = ARGV[5] == '' and 0 or redis.call('LLEN', messages) - tonumber(ARGV[5])
if excess > 0 then
  local first = number('first') + excess
  redis.call('LTRIM', messages, whole(excess), -1)
  redis.call('ZREMRANGEBYSCORE', ids, '-inf', '(' .. whole(first))
  redis.call('HSET', info, 'first', whole(first))
end
slide()
return {'ok', described()}
"""
)
# More ARGV: now, owner of a new session, number of keys to set; then key and text of each, then the keys to remove.
MERGE = (
    SESSION
    + """
if owner and not visible then return {'owner'} end
write(ARGV[3], ARGV[4])
local last = 5 + 2 * tonumber(ARGV[5])
for index = 6, last, 2 do redis.call('HSET', metadata, ARGV[index], ARGV[index + 1]) end
for index = last + 1, #ARGV do redis.call('HDEL', metadata, ARGV[index]) end
slide()
return {'ok', described()}
"""
)
# More ARGV: now, owner, number of metadata keys; then key and text of each, then id and text of each message.
CREATE = (
    SESSION
    + """
if owner then return {'taken'} end
write(ARGV[3], ARGV[4])
local last = 5 + 2 * tonumber(ARGV[5])
for index = 6, last, 2 do redis.call('HSET', metadata, ARGV[index], ARGV[index + 1]) end
push(last + 1)
slide()
return {'ok', described()}
"""
)
DELETE = (
    SESSION
    + """
if not visible then return {'missing'} end
redis.call('DEL', unpack(KEYS))
return {'ok', {owner}}
"""
)

# KEYS: updates, expiries. Takes out what has expired, and lets both keys go with their last session.
INDEX = """
local updates, expiries = KEYS[1], KEYS[2]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
while true do
  local gone = redis.call('ZRANGEBYSCORE', expiries, '-inf', string.format('%.0f', now), 'LIMIT', 0, 1000)
  if #gone == 0 then break end
  redis.call('ZREM', expiries, unpack(gone))
  redis.call('ZREM', updates, unpack(gone))
end
local function expire()
  local last = redis.call('ZRANGE', expiries, -1, -1, 'WITHSCORES')
  for _, key in ipairs(KEYS) do
    if last[2] == 'inf' then redis.call('PERSIST', key)
    elseif last[2] then redis.call('PEXPIREAT', key, string.format('%.0f', tonumber(last[2]))) end
  end
end
"""
# ARGV: session id, time of its last write, milliseconds to live or "".
ENTER = (
    INDEX
    + """
redis.call('ZADD', updates, 'GT', ARGV[2], ARGV[1])
redis.call('ZADD', expiries, ARGV[3] == '' and '+inf' or string.format('%.0f', now + ARGV[3]), ARGV[1])
expire()
"""
)
# ARGV: session ids that are to be taken out.
LEAVE = (
    INDEX
    + """
for _, id in ipairs(ARGV) do
  redis.call('ZREM', updates, id)
  redis.call('ZREM', expiries, id)
end
expire()
"""
)
# ARGV: how many.
NEWEST = (
    INDEX
    + """
if ARGV[1] == '' then return redis.call('ZREVRANGE', updates, 0, -1) end
if ARGV[1] == '0' then return {} end
return redis.call('ZREVRANGE', updates, 0, string.format('%.0f', tonumber(ARGV[1]) - 1))
"""
)
