-- What the dashboard *Market* asks. Grafana puts in the variables (`${symbol:sqlstring}`) and the macros (`$__…`) before
-- the database sees a statement. Every one reads one symbol of one source in a bounded time: the index (symbol, time).

-- name: sources
-- Variable: every source that has ever been recorded.
select distinct source from streams order by source;

-- name: symbols
-- Variable: every symbol of the source.
select distinct symbol from streams where source = ${source:sqlstring} order by symbol;

-- name: candles
-- Bars made of trades, the first one whole.
select c.time, c.open, c.high, c.low, c.close, c.volume
from ohlcv(
    ${source:sqlstring}, ${symbol:sqlstring}, recorder_interval(${candle:sqlstring}),
    recorder_bucket(recorder_interval(${candle:sqlstring}), $__timeFrom()::timestamptz), $__timeTo()::timestamptz
) c;

-- name: latest
-- The last price and the best bid and offer of every symbol of the source, from whatever brings them.
select
    l.symbol,
    (array_agg(l.price order by l.time desc) filter (where l.price is not null))[1] as price,
    (array_agg(l.bid_price order by l.time desc) filter (where l.bid_price is not null))[1] as bid,
    (array_agg(l.ask_price order by l.time desc) filter (where l.ask_price is not null))[1] as ask,
    max(l.time) as "time"
from latest l
where l.source = ${source:sqlstring}
group by l.symbol
order by l.symbol
limit 500;

-- name: depth
-- The deepest book at the end of the range: its last whole picture of the hour before, and every change since then;
-- sizes summed up from the best price outwards.
with pictures as (
    select b.channel, max(b.time) as at
    from books b
    where b.symbol = ${symbol:sqlstring} and b.source = ${source:sqlstring} and b.kind = 'snapshot'
      and b.origin is distinct from 'rest'
      and b.time between $__timeTo()::timestamptz - interval '1 hour' and $__timeTo()::timestamptz
    group by b.channel
), picture as materialized (
    select b.channel, b.time, b.seq, b.received_at
    from books b join pictures p on p.channel = b.channel and p.at = b.time
    where b.symbol = ${symbol:sqlstring} and b.source = ${source:sqlstring} and b.kind = 'snapshot'
      and b.origin is distinct from 'rest'
      and b.time between $__timeTo()::timestamptz - interval '1 hour' and $__timeTo()::timestamptz
    order by coalesce(array_length(b.bids, 1), 0) + coalesce(array_length(b.asks, 1), 0) desc, b.channel,
        b.seq desc nulls last, b.received_at desc
    limit 1
), levels as (
    select distinct on (l.side, l.price) l.side, l.price, l.size
    from picture p join book_levels l on l.channel = p.channel and l.time >= p.time
    where l.symbol = ${symbol:sqlstring} and l.source = ${source:sqlstring}
      and l.time between $__timeTo()::timestamptz - interval '1 hour' and $__timeTo()::timestamptz
      and (
          (l.kind = 'update' and (l.seq > p.seq or (coalesce(l.seq, p.seq) is null and l.time > p.time)))
          or (l.kind = 'snapshot' and l.time = p.time and l.received_at = p.received_at
              and l.seq is not distinct from p.seq)
      )
    order by l.side, l.price, l.time desc, l.seq desc nulls last, l.received_at desc
)
select
    v.price,
    case when v.side = 'bid' then sum(v.size) over (partition by v.side order by v.price desc) end as bids,
    case when v.side = 'ask' then sum(v.size) over (partition by v.side order by v.price) end as asks
from levels v
where v.size > 0
order by v.price;

-- name: spread
-- Mean distance of the best offer from the best bid in basis points of the price, by the channel that tells it.
with best as (
    select q.time, q.channel, q.bid_price as bid, q.ask_price as ask
    from quotes q
    where q.symbol = ${symbol:sqlstring} and q.source = ${source:sqlstring} and $__timeFilter(q.time)
    union all
    select t.time, t.channel, t.bid_price, t.ask_price
    from tickers t
    where t.symbol = ${symbol:sqlstring} and t.source = ${source:sqlstring} and $__timeFilter(t.time)
    union all
    select b.time, b.channel, b.bids[1][1], b.asks[1][1]
    from books b
    where b.symbol = ${symbol:sqlstring} and b.source = ${source:sqlstring} and $__timeFilter(b.time)
      and b.kind = 'snapshot'
)
select
    $__timeGroupAlias(b.time, $__interval), b.channel as metric,
    avg((b.ask - b.bid)::float8 / (b.ask + b.bid)::float8 * 20000) as spread
from best b
where b.bid > 0 and b.ask > 0
group by 1, 2
order by 1, 2;

-- name: volume
-- What was bought and sold by takers, of the channel that candles are made of: two channels carry the same trades twice.
with one as materialized (
    select n.channel
    from (
        select t.channel from trades t
        where t.symbol = ${symbol:sqlstring} and t.source = ${source:sqlstring} and $__timeFilter(t.time)
        order by t.time limit 1000
    ) n
    left join streams s
        on s.source = ${source:sqlstring} and s.symbol = ${symbol:sqlstring} and s.channel = n.channel
    order by s.id nulls last, n.channel limit 1
)
select
    $__timeGroupAlias(t.time, $__interval), coalesce(t.side, 'unknown') as metric, sum(t.size) as volume
from trades t
where t.symbol = ${symbol:sqlstring} and t.source = ${source:sqlstring} and $__timeFilter(t.time)
  and t.channel = (select one.channel from one)
group by 1, 2
order by 1, 2;

-- name: trades
-- The last trades of the range.
select t.time, t.channel, t.side, t.price, t.size
from trades t
where t.symbol = ${symbol:sqlstring} and t.source = ${source:sqlstring} and $__timeFilter(t.time)
order by t.time desc, t.seq desc nulls last, t.channel
limit 100;

-- name: funding
-- The rate that is paid next, and the one after it where the venue tells.
select
    $__timeGroupAlias(f.time, $__interval), avg(f.rate) as "rate", avg(f.next_rate) as "next rate"
from funding_rates f
where f.symbol = ${symbol:sqlstring} and f.source = ${source:sqlstring} and $__timeFilter(f.time)
group by 1
order by 1;

-- name: open_interest
-- What is open, in units of the base currency and in dollars.
select
    $__timeGroupAlias(o.time, $__interval), avg(o.amount) as "amount", avg(o.value_usd) as "value"
from open_interest o
where o.symbol = ${symbol:sqlstring} and o.source = ${source:sqlstring} and $__timeFilter(o.time)
group by 1
order by 1;

-- name: reference
-- Mark, index and estimated prices, and the limits that the venue sets.
select
    $__timeGroupAlias(r.time, $__interval), r.kind as metric, avg(r.price) as price
from reference_prices r
where r.symbol = ${symbol:sqlstring} and r.source = ${source:sqlstring} and $__timeFilter(r.time)
group by 1, 2
order by 1, 2;

-- name: liquidations
-- What the venue closed by force: orders that bought (shorts) and sold (longs).
select
    $__timeGroupAlias(l.time, $__interval), coalesce(l.side, 'unknown') as metric, sum(l.size) as size
from liquidations l
where l.symbol = ${symbol:sqlstring} and l.source = ${source:sqlstring} and $__timeFilter(l.time)
group by 1, 2
order by 1, 2;

-- name: gaps_marked
-- Annotation: holes in what is shown.
select
    g.from_time as "time", coalesce(g.to_time, now()) as timeend,
    g.channel || ': ' || g.cause || coalesce(', ' || g.missing || ' missing', '') as "text", g.cause as tags
from gaps g
where g.source = ${source:sqlstring} and g.symbol = ${symbol:sqlstring}
  and g.from_time <= $__timeTo()::timestamptz and coalesce(g.to_time, now()) >= $__timeFrom()::timestamptz
order by g.from_time desc, g.id desc
limit 200;

-- name: reconnects_marked
-- Annotation: connections of the source that ended unplanned.
select c.closed_at as "time", c.feed || ': ' || c.reason || coalesce(' ' || c.code, '') as "text", c.reason as tags
from connections c
where split_part(c.feed, '/', 1) = ${source:sqlstring} and $__timeFilter(c.closed_at)
  and c.reason not in ('handover', 'line', 'config', 'shutdown')
order by c.closed_at desc, c.feed
limit 200;
