CREATE TABLE site_safety (
    site_id          text PRIMARY KEY REFERENCES site,
    fire_locks_site  boolean NOT NULL,
    fault_lasts_s    integer NOT NULL CHECK (fault_lasts_s BETWEEN 60 AND 120),
    failed_starts    integer NOT NULL CHECK (failed_starts BETWEEN 2 AND 20),
    failed_within_s  integer NOT NULL CHECK (failed_within_s BETWEEN 3600 AND 2592000),
    changed_at       timestamptz NOT NULL
);
COMMENT ON TABLE site_safety IS 'How cautious the platform is at a site; a site without a row has the usual rules.';
COMMENT ON COLUMN site_safety.fire_locks_site IS 'Smoke or fire at one pile refuses starts at every pile of the site.';
COMMENT ON COLUMN site_safety.fault_lasts_s IS 'Seconds a port must report a fault before anybody is told.';
COMMENT ON COLUMN site_safety.failed_starts IS 'So many failed starts in a row take a port out of service.';
COMMENT ON COLUMN site_safety.failed_within_s IS 'Seconds after which a failed start is forgotten.';

CREATE TABLE alarm_episode (
    episode_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    pile_id    text NOT NULL REFERENCES pile,
    site_id    text NOT NULL REFERENCES site,
    port_no    smallint CHECK (port_no BETWEEN 1 AND 20),
    kind       text NOT NULL,
    level      text NOT NULL CHECK (level IN ('warn', 'trip')),
    began_at   timestamptz NOT NULL,
    quiet_at   timestamptz,
    flaps      integer NOT NULL DEFAULT 0 CHECK (flaps >= 0),
    told_level text CHECK (told_level IN ('warn', 'trip')),
    over_at    timestamptz
);
COMMENT ON TABLE alarm_episode IS 'Alarms of one kind at one place that follow each other closely: people are told of the episode, not of each.';
COMMENT ON COLUMN alarm_episode.quiet_at IS 'When its last alarm was over; empty while one lasts.';
COMMENT ON COLUMN alarm_episode.flaps IS 'How often it was raised again.';
COMMENT ON COLUMN alarm_episode.told_level IS 'The level people have been told of.';
COMMENT ON COLUMN alarm_episode.over_at IS 'From then on a new alarm begins a new episode.';
CREATE UNIQUE INDEX alarm_episode_running ON alarm_episode (pile_id, kind, coalesce(port_no, 0)) WHERE over_at IS NULL;

CREATE TABLE alarm (
    pile_id     text NOT NULL REFERENCES pile,
    alarm_id    uuid NOT NULL,
    site_id     text NOT NULL REFERENCES site,
    episode_id  bigint NOT NULL REFERENCES alarm_episode,
    source      text NOT NULL CHECK (source IN ('alarm', 'port_state')),
    kind        text NOT NULL,
    port_no     smallint CHECK (port_no BETWEEN 1 AND 20),
    level       text NOT NULL CHECK (level IN ('warn', 'trip')),
    action      text NOT NULL CHECK (action IN ('none', 'refuses_starts', 'port_stopped', 'pile_stopped')),
    value       bigint NOT NULL,
    value_limit bigint NOT NULL,
    code        bigint NOT NULL,
    raised_at   timestamptz NOT NULL,
    cleared_at  timestamptz,
    received_at timestamptz NOT NULL,
    changed_at  timestamptz NOT NULL,
    closed_at   timestamptz,
    closed_by   text,
    close_reason text,
    PRIMARY KEY (pile_id, alarm_id),
    CHECK ((closed_at IS NULL) = (closed_by IS NULL) AND (closed_at IS NULL) = (close_reason IS NULL))
);
COMMENT ON TABLE alarm IS 'Something dangerous or broken, one row from raising to clearing; the level only rises.';
COMMENT ON COLUMN alarm.source IS 'Whether the pile sent an alarm, or a port only reported a fault that lasted.';
COMMENT ON COLUMN alarm.port_no IS 'Empty for the whole pile.';
COMMENT ON COLUMN alarm.value IS 'What was measured, in the unit of the kind: mA, 0.1 degrees Celsius, 0.1 W or 0.1 V; 1 where nothing is measured.';
COMMENT ON COLUMN alarm.value_limit IS 'The threshold it crossed, in the same unit; 0 where there is none.';
COMMENT ON COLUMN alarm.code IS 'The pile''s own code behind the kind.';
COMMENT ON COLUMN alarm.raised_at IS 'When it began, by the pile''s clock.';
COMMENT ON COLUMN alarm.cleared_at IS 'When it was over, by the pile''s clock.';
COMMENT ON COLUMN alarm.closed_at IS 'When a person closed it; what the pile says later stays written down and raises nothing.';
CREATE INDEX alarm_open ON alarm (pile_id) WHERE cleared_at IS NULL AND closed_at IS NULL;
CREATE INDEX alarm_newest ON alarm (received_at DESC, alarm_id);
CREATE INDEX alarm_pile ON alarm (pile_id, received_at DESC);
CREATE INDEX alarm_of_episode ON alarm (episode_id);

CREATE TABLE alarm_evidence (
    pile_id  text NOT NULL,
    alarm_id uuid NOT NULL,
    level    text NOT NULL,
    cleared  boolean NOT NULL,
    kept_at  timestamptz NOT NULL,
    snapshot jsonb NOT NULL,
    PRIMARY KEY (pile_id, alarm_id, level, cleared),
    FOREIGN KEY (pile_id, alarm_id) REFERENCES alarm
);
COMMENT ON TABLE alarm_evidence IS 'What the pile said, its ports, sessions, samples and heartbeats, as they were when an alarm was heard.';
CREATE TRIGGER alarm_evidence_immutable BEFORE UPDATE OR DELETE ON alarm_evidence
    FOR EACH ROW EXECUTE FUNCTION forbid_change();
CREATE TRIGGER alarm_evidence_kept BEFORE TRUNCATE ON alarm_evidence
    FOR EACH STATEMENT EXECUTE FUNCTION forbid_change();

CREATE TABLE alarm_overflow (
    pile_id  text PRIMARY KEY REFERENCES pile,
    alarms   bigint NOT NULL CHECK (alarms > 0),
    first_at timestamptz NOT NULL,
    last_at  timestamptz NOT NULL
);
COMMENT ON TABLE alarm_overflow IS 'Alarms of a pile that told more than is kept: acted on and counted, without a row of their own.';

CREATE TABLE start_lock (
    lock_id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    pile_id     text NOT NULL REFERENCES pile,
    port_no     smallint CHECK (port_no BETWEEN 1 AND 20),
    cause       text NOT NULL CHECK (cause IN ('alarm', 'site_alarm', 'latched', 'failed_starts')),
    kind        text,
    episode_id  bigint REFERENCES alarm_episode,
    stop_reason text,
    locked_at   timestamptz NOT NULL,
    lifted_at   timestamptz,
    lifted_by   text,
    lift_reason text,
    overrode    boolean NOT NULL DEFAULT false,
    clear_command_id uuid REFERENCES command,
    CHECK ((lifted_at IS NULL) = (lifted_by IS NULL) AND (lifted_at IS NULL) = (lift_reason IS NULL))
);
COMMENT ON TABLE start_lock IS 'Why nothing may start on a port or pile; only a person lifts one, and the row remembers who.';
COMMENT ON COLUMN start_lock.port_no IS 'Empty for the whole pile.';
COMMENT ON COLUMN start_lock.kind IS 'The kind of the alarm behind it.';
COMMENT ON COLUMN start_lock.episode_id IS 'The alarms behind it: another pile''s for cause site_alarm.';
COMMENT ON COLUMN start_lock.stop_reason IS 'What every session found running under it is ended with; empty where none is.';
COMMENT ON COLUMN start_lock.overrode IS 'Lifted although the alarm was still raised.';
COMMENT ON COLUMN start_lock.clear_command_id IS 'What the pile was told when it was lifted.';
CREATE UNIQUE INDEX start_lock_held ON start_lock (pile_id, coalesce(port_no, 0), cause, coalesce(episode_id, 0))
    WHERE lifted_at IS NULL;
CREATE INDEX start_lock_clearing ON start_lock (clear_command_id) WHERE clear_command_id IS NOT NULL;
CREATE INDEX start_lock_episode ON start_lock (episode_id) WHERE lifted_at IS NULL;

CREATE TABLE start_failure (
    session_id  uuid PRIMARY KEY REFERENCES charging_session,
    pile_id     text NOT NULL,
    port_no     smallint NOT NULL,
    cause       text NOT NULL,
    failed_at   timestamptz NOT NULL,
    forgiven_at timestamptz
);
COMMENT ON TABLE start_failure IS 'Starts that failed for a reason on the pile''s side; a good charge or a person''s look forgives them.';
CREATE INDEX start_failure_port ON start_failure (pile_id, port_no) WHERE forgiven_at IS NULL;

CREATE TABLE notice (
    notice_id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    party_id        text REFERENCES party,
    session_id      uuid REFERENCES charging_session,
    cause_key       text NOT NULL,
    kind            text NOT NULL,
    severity        text NOT NULL CHECK (severity IN ('info', 'warning', 'danger')),
    site_id         text NOT NULL REFERENCES site,
    pile_id         text NOT NULL REFERENCES pile,
    port_no         smallint,
    words_zh        text NOT NULL CHECK (words_zh <> ''),
    words_en        text NOT NULL CHECK (words_en <> ''),
    facts           jsonb NOT NULL,
    created_at      timestamptz NOT NULL,
    acknowledged_at timestamptz,
    acknowledged_by text,
    CHECK (num_nonnulls(party_id, session_id) = 1),
    CHECK ((acknowledged_at IS NULL) = (acknowledged_by IS NULL))
);
COMMENT ON TABLE notice IS 'What one recipient is told of: a party, or the rider of a session.';
COMMENT ON COLUMN notice.cause_key IS 'Made from what caused it: one recipient is told once.';
CREATE UNIQUE INDEX notice_party ON notice (party_id, cause_key) WHERE party_id IS NOT NULL;
CREATE UNIQUE INDEX notice_session ON notice (session_id, cause_key) WHERE session_id IS NOT NULL;
CREATE INDEX notice_newest ON notice (party_id, notice_id DESC) WHERE party_id IS NOT NULL;
CREATE INDEX notice_unread ON notice (party_id, notice_id DESC) WHERE party_id IS NOT NULL AND acknowledged_at IS NULL;

ALTER TABLE pile_port ADD COLUMN fault_since timestamptz;
ALTER TABLE pile_port ADD COLUMN fault_alarm_id uuid;
COMMENT ON COLUMN pile_port.fault_since IS 'Since when the port has reported the fault it reports now.';
COMMENT ON COLUMN pile_port.fault_alarm_id IS 'The alarm that stands for this fault, once it has lasted.';
CREATE INDEX pile_port_fault ON pile_port (fault_since) WHERE fault_since IS NOT NULL OR fault_alarm_id IS NOT NULL;
