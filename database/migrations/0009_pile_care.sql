ALTER TABLE command ADD COLUMN late_result jsonb;
ALTER TABLE command ADD COLUMN late_at timestamptz;
COMMENT ON COLUMN command.late_result IS 'What the pile answered after the command had been given up: kept to be read, it changes nothing.';
CREATE INDEX command_pile ON command (pile_id, created_at DESC, command_id);

CREATE TABLE pile_configuration (
    pile_id     text NOT NULL REFERENCES pile,
    version     bigint NOT NULL CHECK (version > 0),
    settings    jsonb NOT NULL,
    set_by      text NOT NULL CHECK (set_by <> ''),
    set_at      timestamptz NOT NULL,
    outcome     text CHECK (outcome IN ('applied', 'refused')),
    outcome_at  timestamptz,
    refused_key text,
    cause       text,
    PRIMARY KEY (pile_id, version)
);
COMMENT ON TABLE pile_configuration IS 'Every configuration somebody wanted of a pile; the highest version is what it should have in force.';
COMMENT ON COLUMN pile_configuration.settings IS 'All wanted settings by name, not only what this version changed; units as the protocol''s table of settings has them.';
COMMENT ON COLUMN pile_configuration.refused_key IS 'The setting the pile found at fault, where it named one.';

CREATE TABLE pile_care (
    pile_id             text PRIMARY KEY REFERENCES pile,
    config_version      bigint NOT NULL DEFAULT 0,
    config_settings     jsonb NOT NULL DEFAULT '{}',
    config_boot         bigint NOT NULL DEFAULT 0,
    config_seq          bigint NOT NULL DEFAULT 0,
    config_reported_at  timestamptz,
    config_due_at       timestamptz,
    tariff_version      bigint NOT NULL DEFAULT 0,
    tariff_boot         bigint NOT NULL DEFAULT 0,
    tariff_seq          bigint NOT NULL DEFAULT 0,
    tariff_reported_at  timestamptz,
    tariff_due_at       timestamptz
);
COMMENT ON TABLE pile_care IS 'What a pile says of its configuration and of the tariff it shows, and when we look whether it needs telling.';
COMMENT ON COLUMN pile_care.config_version IS 'The version in force, as the pile says; 0 for none of ours.';
COMMENT ON COLUMN pile_care.config_settings IS 'The settings in force, as the pile told them last; a version alone (at boot) leaves them as they were.';
COMMENT ON COLUMN pile_care.config_boot IS 'With config_seq the counter of the message that said so: an older one changes nothing.';
COMMENT ON COLUMN pile_care.config_due_at IS 'When the wanted configuration is to be sent if it is still not in force; nothing to do without.';
COMMENT ON COLUMN pile_care.tariff_version IS 'The tariff version shown, as the pile says; 0 for none of ours.';
CREATE INDEX pile_care_config_due ON pile_care (config_due_at) WHERE config_due_at IS NOT NULL;
CREATE INDEX pile_care_tariff_due ON pile_care (tariff_due_at) WHERE tariff_due_at IS NOT NULL;

CREATE TABLE shown_tariff (
    pile_id           text NOT NULL REFERENCES pile,
    tariff_version_id bigint NOT NULL REFERENCES tariff_version,
    outcome           text NOT NULL CHECK (outcome IN ('shown', 'refused', 'unshowable')),
    cause             text,
    outcome_at        timestamptz NOT NULL,
    PRIMARY KEY (pile_id, tariff_version_id)
);
COMMENT ON TABLE shown_tariff IS 'How telling a pile a tariff to show ended; one that was refused or cannot be shown is not told again.';

CREATE TABLE site_shown_tariff (
    site_id           text PRIMARY KEY REFERENCES site,
    tariff_version_id bigint NOT NULL REFERENCES tariff_version,
    noticed_at        timestamptz NOT NULL
);
COMMENT ON TABLE site_shown_tariff IS 'The tariff version a site''s piles were last asked to show: a newer one in force is noticed by the difference.';

CREATE TABLE pile_log_line (
    line_id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    pile_id     text NOT NULL REFERENCES pile,
    command_id  uuid NOT NULL REFERENCES command,
    part        integer NOT NULL,
    line_no     integer NOT NULL,
    logged_at   timestamptz NOT NULL,
    received_at timestamptz NOT NULL,
    level       text NOT NULL,
    text        text NOT NULL,
    UNIQUE (command_id, part, line_no)
);
COMMENT ON TABLE pile_log_line IS 'Lines of piles'' own logs, as asked for; only the newest of each pile are kept.';
COMMENT ON COLUMN pile_log_line.logged_at IS 'By the pile''s clock.';
CREATE INDEX pile_log_line_pile ON pile_log_line (pile_id, line_id DESC);
