-- What the recorder knows about its data: instruments and sessions, streams, connections, subscriptions, holes,
-- what venues said, what could not be decoded, and how far every feed is committed.

create table instruments (
    time           timestamptz not null,
    received_at    timestamptz not null,
    source         text not null,
    channel        text not null,
    symbol         text not null,
    type           text,
    base           text,
    quote          text,
    settle         text,
    tick_size      numeric,
    lot_size       numeric,
    contract_value numeric,
    state          text,
    listed_at      timestamptz,
    expires_at     timestamptz
);
create index instruments_symbol_time on instruments (symbol, time desc);

create table sessions (
    source    text not null,
    symbol    text not null,
    opens_at  timestamptz not null,
    closes_at timestamptz not null,
    primary key (source, symbol, opens_at)
);

create table streams (
    id         bigint generated always as identity primary key,
    source     text not null,
    channel    text not null,
    symbol     text not null,
    first_time timestamptz,
    unique (source, channel, symbol)
);

create table connections (
    feed      text not null,
    endpoint  text,
    opened_at timestamptz,
    closed_at timestamptz,
    reason    text,
    code      text,
    frames    bigint,
    rtt_ms    double precision
);
create index connections_feed_opened on connections (feed, opened_at desc);

create table subscriptions (
    source    text not null,
    channel   text not null,
    symbol    text not null,
    from_time timestamptz not null,
    to_time   timestamptz,
    outcome   text not null
        check (outcome in ('pending', 'accepted', 'rejected', 'silent', 'ended')),
    feed      text  -- whose connection it was asked on: when that ends, the subscription does
);
create index subscriptions_stream_from on subscriptions (source, channel, symbol, from_time desc);

create table gaps (
    id            bigint generated always as identity primary key,
    source        text not null,
    channel       text not null,
    symbol        text not null,
    from_time     timestamptz not null,
    to_time       timestamptz,
    from_seq      bigint,
    to_seq        bigint,
    missing       bigint,
    cause         text not null
        check (cause in ('sequence', 'disconnect', 'silence', 'recorder_down', 'late', 'rejected', 'shed',
                         'quarantined', 'corrupt', 'reset', 'database_restored')),
    state         text not null default 'open'
        check (state in ('open', 'refilled', 'partial', 'unfillable')),
    detected_at   timestamptz not null default now(),
    closed_at     timestamptz,
    refilled_rows bigint not null default 0
);
create index gaps_stream_from on gaps (source, channel, symbol, from_time desc);
create index gaps_not_ended on gaps (source, channel, symbol) where to_time is null;

create table venue_events (
    time    timestamptz not null,
    source  text not null,
    feed    text not null,
    code    text,
    action  text,
    message text
);
create index venue_events_time on venue_events (time desc);

create table quarantine (
    received_at timestamptz not null,
    source      text not null,
    feed        text not null,
    frame       text not null,
    reason      text not null,
    raw         bytea
);
create index quarantine_received_at on quarantine (received_at desc);

-- One row a feed, rewritten with every flush: half-empty pages keep its updates in place (no index churn, no growth).
create table positions (
    recorder_id  uuid not null,
    feed         text not null,
    run          text not null,
    next         bigint not null,
    epoch        bigint not null default 1,
    instance     text not null default '',
    committed_at timestamptz not null default now(),
    watermark    timestamptz,
    primary key (recorder_id, feed)
) with (fillfactor = 50);

create table checkpoints (
    recorder_id uuid not null,
    feed        text not null,
    run         text not null,
    next        bigint not null,
    state       bytea not null,
    stale       boolean not null default false,
    primary key (recorder_id, feed)
) with (fillfactor = 50);
