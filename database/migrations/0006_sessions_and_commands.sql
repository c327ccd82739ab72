CREATE TABLE charging_session (
    session_id           uuid PRIMARY KEY,
    pile_id              text NOT NULL,
    port_no              smallint NOT NULL,
    site_id              text NOT NULL REFERENCES site,
    state                text NOT NULL CHECK (state IN ('created', 'paid', 'starting', 'pending_plug', 'charging', 'stopping',
                                                        'awaiting_settlement', 'settled', 'closed', 'failed', 'cancelled')),
    prepaid_fen          bigint NOT NULL CHECK (prepaid_fen > 0),
    tariff_version_id    bigint NOT NULL REFERENCES tariff_version,
    agreement_version_id bigint NOT NULL REFERENCES agreement_version,
    limit_s              integer NOT NULL CHECK (limit_s > 0),
    limit_dwh            bigint NOT NULL CHECK (limit_dwh > 0),
    created_at           timestamptz NOT NULL,
    paid_at              timestamptz,
    started_at           timestamptz,
    ended_at             timestamptz,
    settled_at           timestamptz,
    closed_at            timestamptz,
    failure              text,
    stop_reason          text,
    energy_dwh           bigint CHECK (energy_dwh >= 0),
    duration_s           integer CHECK (duration_s >= 0),
    last_sampled_at      timestamptz,
    last_power_dw        integer,
    last_energy_dwh      bigint,
    FOREIGN KEY (pile_id, port_no) REFERENCES pile_port
);
COMMENT ON TABLE charging_session IS 'One charge on one port; its state moves only forward.';
COMMENT ON COLUMN charging_session.limit_dwh IS 'Most energy the prepayment can buy, in 0.1 Wh.';
COMMENT ON COLUMN charging_session.energy_dwh IS 'Settled energy in 0.1 Wh.';
COMMENT ON COLUMN charging_session.last_power_dw IS 'Power of the newest sample in 0.1 W.';
COMMENT ON COLUMN charging_session.last_energy_dwh IS 'Energy since start of the newest sample in 0.1 Wh.';
CREATE UNIQUE INDEX charging_session_occupies ON charging_session (pile_id, port_no)
    WHERE state IN ('paid', 'starting', 'pending_plug', 'charging', 'stopping');
CREATE INDEX charging_session_open ON charging_session (state, created_at) WHERE state NOT IN ('closed', 'failed', 'cancelled');
CREATE INDEX charging_session_site ON charging_session (site_id, created_at DESC);
CREATE INDEX charging_session_pile ON charging_session (pile_id, created_at DESC);
CREATE INDEX charging_session_recent ON charging_session (created_at DESC);

CREATE TABLE session_transition (
    session_id uuid NOT NULL REFERENCES charging_session,
    state      text NOT NULL,
    cause      text NOT NULL,
    at         timestamptz NOT NULL,
    PRIMARY KEY (session_id, state)
);
COMMENT ON TABLE session_transition IS 'When and why a session reached each of its states.';

CREATE TABLE command (
    command_id  uuid PRIMARY KEY,
    pile_id     text NOT NULL REFERENCES pile,
    shard       smallint NOT NULL,
    session_id  uuid REFERENCES charging_session,
    kind        text NOT NULL,
    body        jsonb NOT NULL,
    state       text NOT NULL CHECK (state IN ('pending', 'sent', 'done', 'refused', 'expired')),
    created_at  timestamptz NOT NULL,
    expires_at  timestamptz NOT NULL,
    retry_at    timestamptz NOT NULL,
    send_count  integer NOT NULL DEFAULT 0,
    answered_at timestamptz,
    result      jsonb
);
COMMENT ON TABLE command IS 'What a pile is told to do: one durable row, sent again with the same id until answered or expired.';
CREATE INDEX command_due ON command (shard, retry_at) WHERE state IN ('pending', 'sent');
CREATE INDEX command_session ON command (session_id) WHERE session_id IS NOT NULL;
CREATE INDEX command_expiry ON command (expires_at) WHERE state IN ('pending', 'sent');

CREATE TABLE settlement (
    pile_id     text NOT NULL REFERENCES pile,
    session_id  uuid NOT NULL,
    body        jsonb NOT NULL,
    body_sha256 bytea NOT NULL CHECK (length(body_sha256) = 32),
    outcome     text NOT NULL CHECK (outcome IN ('stored', 'unknown_session_kept')),
    received_at timestamptz NOT NULL,
    PRIMARY KEY (pile_id, session_id)
);
COMMENT ON TABLE settlement IS 'The pile''s final record of a session, as it arrived first.';
CREATE TRIGGER settlement_immutable BEFORE UPDATE OR DELETE ON settlement FOR EACH ROW EXECUTE FUNCTION forbid_change();
