CREATE TABLE firmware_release (
    release_id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    model           text NOT NULL CHECK (model <> ''),
    version         text NOT NULL CHECK (version <> ''),
    minimum_version text NOT NULL,
    size_bytes      integer NOT NULL CHECK (size_bytes > 0),
    sha256          bytea NOT NULL CHECK (length(sha256) = 32),
    signature       bytea NOT NULL CHECK (length(signature) = 64),
    signature_checked boolean NOT NULL,
    uploaded_at     timestamptz NOT NULL,
    UNIQUE (model, version)
);
COMMENT ON TABLE firmware_release IS 'Firmware as its maker signed it: one image for one version of one model, for ever.';
COMMENT ON COLUMN firmware_release.minimum_version IS 'The oldest version it may be installed over.';
COMMENT ON COLUMN firmware_release.signature IS 'Ed25519 by the maker over the manifest; the pile checks it itself.';
COMMENT ON COLUMN firmware_release.signature_checked IS 'The platform held the maker''s public key and checked it too.';

CREATE TABLE firmware_image_part (
    sha256  bytea NOT NULL CHECK (length(sha256) = 32),
    part_no integer NOT NULL CHECK (part_no >= 0),
    content bytea NOT NULL CHECK (length(content) BETWEEN 1 AND 1048576),
    PRIMARY KEY (sha256, part_no)
);
COMMENT ON TABLE firmware_image_part IS 'The bytes of images, named by the SHA-256 of the whole, in parts of 1 MiB.';
ALTER TABLE firmware_image_part ALTER COLUMN content SET STORAGE EXTERNAL;
CREATE TRIGGER firmware_release_immutable BEFORE UPDATE OR DELETE ON firmware_release
    FOR EACH ROW EXECUTE FUNCTION forbid_change();
CREATE TRIGGER firmware_image_part_immutable BEFORE UPDATE OR DELETE ON firmware_image_part
    FOR EACH ROW EXECUTE FUNCTION forbid_change();

CREATE TABLE firmware_rollout (
    rollout_id          uuid PRIMARY KEY,
    release_id          bigint NOT NULL REFERENCES firmware_release,
    site_id             text REFERENCES site,
    stages_percent      integer[] NOT NULL CHECK (cardinality(stages_percent) BETWEEN 1 AND 20),
    window_from         timestamptz NOT NULL,
    window_to           timestamptz NOT NULL,
    force               boolean NOT NULL,
    patience_s          integer NOT NULL CHECK (patience_s > 0),
    stop_at_failures    integer NOT NULL CHECK (stop_at_failures > 0),
    stop_at_share_bps   integer NOT NULL CHECK (stop_at_share_bps BETWEEN 1 AND 10000),
    image_url           text NOT NULL,
    state               text NOT NULL CHECK (state IN ('running', 'paused', 'stopped', 'aborted', 'done')),
    stage               integer NOT NULL DEFAULT 0 CHECK (stage >= 0),
    reason              text,
    created_at          timestamptz NOT NULL,
    ended_at            timestamptz,
    CHECK (window_from < window_to)
);
COMMENT ON TABLE firmware_rollout IS 'A release on its way to the piles of its model, stage by stage.';
COMMENT ON COLUMN firmware_rollout.stages_percent IS 'How much of the piles each stage takes in all, in percent, growing to 100.';
COMMENT ON COLUMN firmware_rollout.window_from IS 'Piles install between this and window_to.';
COMMENT ON COLUMN firmware_rollout.force IS 'Install although a port charges.';
COMMENT ON COLUMN firmware_rollout.patience_s IS 'Seconds a pile may say nothing before it counts as failed.';
COMMENT ON COLUMN firmware_rollout.stop_at_failures IS 'So many failed piles stop the rollout.';
COMMENT ON COLUMN firmware_rollout.stop_at_share_bps IS 'This share of the piles chosen so far, failed, stops the rollout; in 1/10000.';
COMMENT ON COLUMN firmware_rollout.image_url IS 'Where piles fetch the image.';
COMMENT ON COLUMN firmware_rollout.stage IS 'The stage under way, from 1; 0 before the first.';
COMMENT ON COLUMN firmware_rollout.reason IS 'Why it was stopped, paused or aborted.';
CREATE INDEX firmware_rollout_running ON firmware_rollout (created_at) WHERE state = 'running';
CREATE INDEX firmware_rollout_newest ON firmware_rollout (created_at DESC, rollout_id DESC);

CREATE TABLE firmware_rollout_pile (
    rollout_id  uuid NOT NULL REFERENCES firmware_rollout,
    pile_id     text NOT NULL REFERENCES pile,
    place       bytea NOT NULL CHECK (length(place) = 32),
    state       text NOT NULL CHECK (state IN ('waiting', 'chosen', 'told', 'done', 'failed', 'left_out')),
    stage       integer,
    command_id  uuid REFERENCES command,
    step        text,
    percent     smallint,
    error       text,
    running     text,
    told_at     timestamptz,
    heard_at    timestamptz,
    deadline_at timestamptz,
    ended_at    timestamptz,
    PRIMARY KEY (rollout_id, pile_id),
    CHECK (state <> 'told' OR (command_id IS NOT NULL AND deadline_at IS NOT NULL))
);
COMMENT ON TABLE firmware_rollout_pile IS 'One pile of a rollout: the stage it was chosen in and how far it is.';
COMMENT ON COLUMN firmware_rollout_pile.place IS 'A hash of release and pile: the order in which piles are chosen, the same whoever computes it.';
COMMENT ON COLUMN firmware_rollout_pile.step IS 'The pile''s newest word for where its update stands.';
COMMENT ON COLUMN firmware_rollout_pile.running IS 'The version the pile said it runs.';
COMMENT ON COLUMN firmware_rollout_pile.deadline_at IS 'If it says nothing until then, it counts as failed.';
CREATE UNIQUE INDEX firmware_rollout_pile_command ON firmware_rollout_pile (command_id) WHERE command_id IS NOT NULL;
CREATE INDEX firmware_rollout_pile_deadline ON firmware_rollout_pile (deadline_at) WHERE state = 'told';
CREATE INDEX firmware_rollout_pile_told ON firmware_rollout_pile (pile_id) WHERE command_id IS NOT NULL;

CREATE TABLE card (
    card_id       uuid PRIMARY KEY,
    site_id       text NOT NULL REFERENCES site,
    number_hash   bytea NOT NULL CHECK (length(number_hash) = 32),
    label         text NOT NULL CHECK (label <> ''),
    active        boolean NOT NULL,
    registered_at timestamptz NOT NULL,
    changed_at    timestamptz NOT NULL,
    UNIQUE (site_id, number_hash)
);
COMMENT ON TABLE card IS 'A card that may start sessions at the piles of its site; its number is kept as a slow hash only.';
CREATE INDEX card_newest ON card (registered_at DESC, card_id DESC);

ALTER TABLE charging_session
    ADD COLUMN source text NOT NULL DEFAULT 'app' CHECK (source IN ('app', 'code', 'card')),
    ADD COLUMN card_id uuid REFERENCES card,
    DROP CONSTRAINT charging_session_prepaid_fen_check,
    ADD CONSTRAINT charging_session_prepaid_fen_check CHECK (prepaid_fen > 0 OR (source = 'card' AND prepaid_fen = 0)),
    ADD CONSTRAINT charging_session_card_check CHECK ((source = 'card') = (card_id IS NOT NULL)),
    DROP CONSTRAINT charging_session_state_check,
    ADD CONSTRAINT charging_session_state_check
        CHECK (state IN ('created', 'paid', 'awaiting_code', 'code_lapsed', 'starting', 'pending_plug', 'charging',
                         'stopping', 'awaiting_settlement', 'settled', 'closed', 'failed', 'cancelled'));
COMMENT ON COLUMN charging_session.source IS 'What started it: the platform, a code typed in at the pile, or a card.';
DROP INDEX charging_session_occupies;
CREATE UNIQUE INDEX charging_session_occupies ON charging_session (pile_id, port_no)
    WHERE state IN ('paid', 'awaiting_code', 'starting', 'pending_plug', 'charging', 'stopping');
CREATE INDEX charging_session_card ON charging_session (card_id, created_at DESC) WHERE card_id IS NOT NULL;

CREATE TABLE start_code (
    session_id  uuid PRIMARY KEY REFERENCES charging_session,
    digits      text NOT NULL CHECK (digits ~ '^[0-9]{10}$'),
    key_epoch   integer NOT NULL,
    made_at     timestamptz NOT NULL,
    valid_until timestamptz NOT NULL,
    lapsed_at   timestamptz,
    given_up    boolean NOT NULL DEFAULT false,
    CHECK (made_at < valid_until),
    CHECK (NOT given_up OR lapsed_at IS NOT NULL)
);
COMMENT ON TABLE start_code IS 'The code that starts a session at a pile we cannot reach; shown once it is paid for.';
COMMENT ON COLUMN start_code.key_epoch IS 'Epoch of the device secret it was made with.';
COMMENT ON COLUMN start_code.valid_until IS 'From then on the pile takes it no more.';
COMMENT ON COLUMN start_code.lapsed_at IS 'Since when we do not expect it to be used any more: it ran out, or its rider gave it up.';

CREATE TABLE card_rating (
    session_id        uuid PRIMARY KEY REFERENCES charging_session,
    card_id           uuid NOT NULL REFERENCES card,
    tariff_version_id bigint NOT NULL REFERENCES tariff_version,
    energy_dwh        bigint NOT NULL CHECK (energy_dwh >= 0),
    duration_s        integer NOT NULL CHECK (duration_s >= 0),
    rated_fen         bigint NOT NULL CHECK (rated_fen >= 0),
    fees_fen          jsonb NOT NULL CHECK (jsonb_typeof(fees_fen) = 'object'),
    rated_at          timestamptz NOT NULL
);
COMMENT ON TABLE card_rating IS 'What a session by card would have cost by the tariff: for the statement to whoever hands out the card; no money moves.';
COMMENT ON COLUMN card_rating.energy_dwh IS 'Energy in 0.1 Wh.';
COMMENT ON COLUMN card_rating.rated_fen IS 'The sum of fees_fen, in fen.';
COMMENT ON COLUMN card_rating.fees_fen IS 'Fee kind to fen.';
CREATE INDEX card_rating_card ON card_rating (card_id, rated_at DESC);
CREATE TRIGGER card_rating_immutable BEFORE UPDATE OR DELETE ON card_rating
    FOR EACH ROW EXECUTE FUNCTION forbid_change();
