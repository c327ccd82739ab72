CREATE TABLE payment (
    payment_id          uuid PRIMARY KEY,
    session_id          uuid NOT NULL UNIQUE,
    rail                text NOT NULL,
    out_trade_no        text NOT NULL UNIQUE CHECK (out_trade_no ~ '^[0-9A-Za-z_-]{6,32}$'),
    amount_fen          bigint NOT NULL CHECK (amount_fen > 0),
    refund_fen          bigint NOT NULL DEFAULT 0 CHECK (refund_fen BETWEEN 0 AND amount_fen),
    state               text NOT NULL CHECK (state IN ('created', 'paid', 'closed')),
    pay_url             text,
    rail_transaction_id text,
    created_at          timestamptz NOT NULL,
    expires_at          timestamptz NOT NULL,
    paid_at             timestamptz,
    closed_at           timestamptz,
    rail_closed_at      timestamptz,
    UNIQUE (rail, rail_transaction_id),
    CHECK (state <> 'paid' OR (paid_at IS NOT NULL AND rail_transaction_id IS NOT NULL))
);
COMMENT ON TABLE payment IS 'A rider''s prepayment for one session through one rail.';
COMMENT ON COLUMN payment.amount_fen IS 'Prepaid amount in fen.';
COMMENT ON COLUMN payment.refund_fen IS 'Refunds asked for so far in fen, in flight ones included; can never exceed the amount.';
COMMENT ON COLUMN payment.out_trade_no IS 'Our number for the payment at the rail.';
COMMENT ON COLUMN payment.closed_at IS 'When we gave up waiting for the money; money that comes later goes back whole.';
COMMENT ON COLUMN payment.rail_closed_at IS 'When the rail confirmed that the payment cannot be paid any more.';
CREATE INDEX payment_undecided ON payment (expires_at)
    WHERE state = 'created' OR (state = 'closed' AND rail_closed_at IS NULL);

CREATE TABLE rail_notification (
    rail        text NOT NULL,
    event_key   text NOT NULL,
    kind        text NOT NULL,
    received_at timestamptz NOT NULL,
    PRIMARY KEY (rail, event_key)
);
COMMENT ON TABLE rail_notification IS 'Verified notifications already acted on; the key names the event itself, not the delivery.';

CREATE TABLE refund (
    refund_id       uuid PRIMARY KEY,
    payment_id      uuid NOT NULL REFERENCES payment,
    idempotency_key text NOT NULL UNIQUE CHECK (idempotency_key <> ''),
    generation      integer NOT NULL DEFAULT 0 CHECK (generation >= 0),
    out_refund_no   text NOT NULL UNIQUE,
    cause           text NOT NULL CHECK (cause IN ('unused_prepayment', 'start_failed', 'paid_too_late')),
    amount_fen      bigint NOT NULL CHECK (amount_fen > 0),
    state           text NOT NULL CHECK (state IN ('requested', 'processing', 'succeeded', 'abnormal')),
    attempts        integer NOT NULL DEFAULT 0,
    last_error      text,
    rail_refund_id  text,
    requested_at    timestamptz NOT NULL,
    retry_at        timestamptz NOT NULL,
    succeeded_at    timestamptz,
    CHECK (state <> 'succeeded' OR succeeded_at IS NOT NULL),
    CHECK (out_refund_no = replace(refund_id::text, '-', '')
                           || CASE generation WHEN 0 THEN '' ELSE '-' || generation END)
);
COMMENT ON TABLE refund IS 'Money going back to the rider by the original route.';
COMMENT ON COLUMN refund.generation IS 'How often the rail has closed the refund, each time making its number useless.';
COMMENT ON COLUMN refund.out_refund_no IS 'Our number for the refund at the rail; only the rail''s word that it is closed gives it a new one.';
COMMENT ON COLUMN refund.amount_fen IS 'Refunded amount in fen.';
COMMENT ON COLUMN refund.retry_at IS 'Nobody asks the rail before this instant, by the database''s clock: the network waits in real seconds.';
CREATE INDEX refund_payment ON refund (payment_id);
CREATE INDEX refund_open ON refund (retry_at) WHERE state <> 'succeeded';

CREATE TABLE session_charge (
    session_id           uuid PRIMARY KEY,
    payment_id           uuid NOT NULL REFERENCES payment,
    tariff_version_id    bigint NOT NULL REFERENCES tariff_version,
    agreement_version_id bigint NOT NULL REFERENCES agreement_version,
    entry_id             bigint NOT NULL REFERENCES journal_entry,
    energy_dwh           bigint NOT NULL CHECK (energy_dwh >= 0),
    duration_s           integer NOT NULL CHECK (duration_s >= 0),
    prepaid_fen          bigint NOT NULL CHECK (prepaid_fen > 0),
    charged_fen          bigint NOT NULL CHECK (charged_fen >= 0),
    refund_fen           bigint NOT NULL CHECK (refund_fen >= 0),
    charged_at           timestamptz NOT NULL,
    CHECK (prepaid_fen = charged_fen + refund_fen)
);
COMMENT ON TABLE session_charge IS 'What one session cost, written once with its journal entry.';
COMMENT ON COLUMN session_charge.energy_dwh IS 'Energy in 0.1 Wh.';

CREATE TABLE session_fee (
    session_id  uuid NOT NULL REFERENCES session_charge,
    fee_kind    text NOT NULL CHECK (fee_kind IN ('electricity', 'service', 'occupancy')),
    rated_fen   bigint NOT NULL CHECK (rated_fen >= 0),
    charged_fen bigint NOT NULL CHECK (charged_fen BETWEEN 0 AND rated_fen),
    lines       jsonb NOT NULL CHECK (jsonb_typeof(lines) = 'array'),
    PRIMARY KEY (session_id, fee_kind)
);
COMMENT ON TABLE session_fee IS 'One fee kind of a charge: as the tariff rates it, and as charged after the prepayment caps it.';
COMMENT ON COLUMN session_fee.lines IS 'The priced lines: dimension, price in yuan, quantity, fen.';

CREATE TABLE session_share (
    session_id uuid NOT NULL REFERENCES session_charge,
    fee_kind   text NOT NULL,
    party_id   text NOT NULL REFERENCES party,
    share_fen  bigint NOT NULL CHECK (share_fen >= 0),
    PRIMARY KEY (session_id, fee_kind, party_id),
    FOREIGN KEY (session_id, fee_kind) REFERENCES session_fee
);
COMMENT ON TABLE session_share IS 'One party''s share of one fee kind of one session, in fen.';

CREATE TRIGGER session_charge_immutable BEFORE UPDATE OR DELETE ON session_charge
    FOR EACH ROW EXECUTE FUNCTION forbid_change();
CREATE TRIGGER session_fee_immutable BEFORE UPDATE OR DELETE ON session_fee
    FOR EACH ROW EXECUTE FUNCTION forbid_change();
CREATE TRIGGER session_share_immutable BEFORE UPDATE OR DELETE ON session_share
    FOR EACH ROW EXECUTE FUNCTION forbid_change();
