CREATE TABLE site (
    site_id    text PRIMARY KEY CHECK (site_id ~ '^[a-z0-9][a-z0-9-]{0,62}$'),
    name       text NOT NULL CHECK (name <> ''),
    address    text NOT NULL,
    created_at timestamptz NOT NULL
);
COMMENT ON TABLE site IS 'A housing compound or car park where piles stand.';

CREATE TABLE pile (
    pile_id       text PRIMARY KEY CHECK (pile_id ~ '^[A-Za-z0-9_-]{1,64}$'),
    site_id       text NOT NULL REFERENCES site,
    model         text NOT NULL,
    port_count    smallint NOT NULL CHECK (port_count BETWEEN 2 AND 20),
    power_limit_w integer NOT NULL CHECK (power_limit_w > 0),
    shard         smallint NOT NULL CHECK (shard BETWEEN 0 AND 63),
    state         text NOT NULL CHECK (state IN ('manufactured', 'provisioned', 'active', 'quarantined', 'revoked')),
    online        boolean NOT NULL DEFAULT false,
    boot          bigint NOT NULL DEFAULT 0,
    seq           bigint NOT NULL DEFAULT 0,
    connection_boot bigint NOT NULL DEFAULT 0,
    connection    bigint NOT NULL DEFAULT 0,
    heartbeat_s   integer NOT NULL DEFAULT 60 CHECK (heartbeat_s > 0),
    sample_s      integer NOT NULL DEFAULT 30 CHECK (sample_s > 0),
    reconnect_jitter_s integer NOT NULL DEFAULT 60 CHECK (reconnect_jitter_s BETWEEN 0 AND 120),
    firmware      text,
    hardware      text,
    signal_dbm    smallint,
    last_seen_at  timestamptz,
    registered_at timestamptz NOT NULL
);
COMMENT ON TABLE pile IS 'A charging pile (充电桩) with 2 to 20 ports.';
COMMENT ON COLUMN pile.power_limit_w IS 'What all ports together may draw, in W.';
COMMENT ON COLUMN pile.shard IS 'Part of the topic; decides the gateway lane.';
COMMENT ON COLUMN pile.reconnect_jitter_s IS 'Widest random wait before the pile reconnects after the broker was lost, so that a street does not return at once.';
COMMENT ON COLUMN pile.boot IS 'Boot counter of the newest message; with seq it orders messages.';
COMMENT ON COLUMN pile.connection IS 'The newest connection the pile named in the boot of connection_boot: a will of an older one cannot mark it offline.';

CREATE TABLE pile_port (
    pile_id      text NOT NULL REFERENCES pile,
    port_no      smallint NOT NULL CHECK (port_no BETWEEN 1 AND 20),
    state        text NOT NULL CHECK (state IN ('disabled', 'idle', 'plugged', 'reserved', 'starting', 'charging',
                                                'float', 'full_plugged', 'stopping', 'fault')),
    fault        text,
    plugged      boolean NOT NULL DEFAULT false,
    power_dw     integer NOT NULL DEFAULT 0,
    boot         bigint NOT NULL DEFAULT 0,
    seq          bigint NOT NULL DEFAULT 0,
    reported_at  timestamptz NOT NULL,
    PRIMARY KEY (pile_id, port_no)
);
COMMENT ON TABLE pile_port IS 'A socket and the newest state its pile reported; (boot, seq) decides which is newest.';
COMMENT ON COLUMN pile_port.power_dw IS 'Power in 0.1 W.';

CREATE TABLE pile_claim (
    code_sha256 bytea PRIMARY KEY CHECK (length(code_sha256) = 32),
    pile_id     text NOT NULL REFERENCES pile,
    created_at  timestamptz NOT NULL,
    expires_at  timestamptz NOT NULL,
    used_at     timestamptz,
    key_sha256  bytea CHECK (length(key_sha256) = 32)
);
COMMENT ON TABLE pile_claim IS 'One-time claim codes for enrolment; only the hash is kept.';
COMMENT ON COLUMN pile_claim.key_sha256 IS 'The public key that used the code: the same pile may ask again when our answer was lost.';
CREATE INDEX pile_claim_pile ON pile_claim (pile_id);

CREATE TABLE pile_certificate (
    serial     text PRIMARY KEY,
    pile_id    text NOT NULL REFERENCES pile,
    issued_at  timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    revoked_at timestamptz
);
COMMENT ON TABLE pile_certificate IS 'Certificates issued to piles, by serial number in hex.';
CREATE INDEX pile_certificate_pile ON pile_certificate (pile_id);

CREATE TABLE pile_key (
    pile_id        text NOT NULL REFERENCES pile,
    epoch          integer NOT NULL CHECK (epoch > 0),
    wrapped_secret bytea NOT NULL,
    created_at     timestamptz NOT NULL,
    retired_at     timestamptz,
    down_boot      bigint NOT NULL DEFAULT 0,
    down_seq       bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (pile_id, epoch)
);
COMMENT ON TABLE pile_key IS 'Device secrets by epoch, wrapped by the key-encryption key.';
COMMENT ON COLUMN pile_key.retired_at IS 'From then on nothing under this secret is read: the pile has enrolled anew.';
COMMENT ON COLUMN pile_key.down_boot IS 'Block of down counters handed out last: a Partial IV is never used twice under a key.';

CREATE TABLE pile_event (
    pile_id     text NOT NULL,
    occurred_at timestamptz NOT NULL,
    received_at timestamptz NOT NULL,
    kind        text NOT NULL,
    detail      jsonb NOT NULL DEFAULT '{}'
);
COMMENT ON TABLE pile_event IS 'What happened to a pile: boots, losses of link, state changes, refusals.';
CREATE INDEX pile_event_pile ON pile_event (pile_id, occurred_at DESC);

CREATE TABLE rejected_message (
    rejected_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    received_at timestamptz NOT NULL,
    topic       text NOT NULL,
    reason      text NOT NULL,
    size_bytes  integer NOT NULL,
    payload     bytea NOT NULL
);
COMMENT ON TABLE rejected_message IS 'The newest frames that could not be accepted, cut to 16 KiB each; older ones are trimmed.';

CREATE TABLE rejected_count (
    reason        text PRIMARY KEY,
    messages      bigint NOT NULL,
    last_at       timestamptz NOT NULL
);
COMMENT ON TABLE rejected_count IS 'How many frames were ever refused, by reason.';
