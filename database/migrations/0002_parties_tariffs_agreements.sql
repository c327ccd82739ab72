CREATE TABLE party (
    party_id   text PRIMARY KEY CHECK (party_id ~ '^[a-z0-9][a-z0-9-]{0,62}$'),
    kind       text NOT NULL CHECK (kind IN ('operator', 'property', 'sub_merchant', 'platform')),
    name       text NOT NULL CHECK (name <> ''),
    created_at timestamptz NOT NULL
);
COMMENT ON TABLE party IS 'Somebody who takes a share of the revenue: operator, property (物业), sub-merchant or the platform.';

CREATE TABLE tariff_version (
    tariff_version_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    site_id           text NOT NULL,
    version           integer NOT NULL CHECK (version > 0),
    effective_from    timestamptz NOT NULL,
    tariffs           jsonb NOT NULL CHECK (jsonb_typeof(tariffs) = 'object' AND tariffs <> '{}'),
    tariffs_sha256    bytea NOT NULL CHECK (length(tariffs_sha256) = 32),
    created_at        timestamptz NOT NULL,
    UNIQUE (site_id, version),
    UNIQUE (site_id, effective_from)
);
COMMENT ON TABLE tariff_version IS 'What a site charges from an instant on; a session keeps the version that held when it was paid.';
COMMENT ON COLUMN tariff_version.tariffs IS 'Fee kind (electricity, service, occupancy) to an OCPI 2.2.1 Tariff object, prices in yuan as decimal strings.';
CREATE TRIGGER tariff_version_immutable BEFORE UPDATE OR DELETE ON tariff_version
    FOR EACH ROW EXECUTE FUNCTION forbid_change();
CREATE TRIGGER tariff_version_kept BEFORE TRUNCATE ON tariff_version
    FOR EACH STATEMENT EXECUTE FUNCTION forbid_change();

CREATE TABLE agreement_version (
    agreement_version_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    site_id              text NOT NULL,
    version              integer NOT NULL CHECK (version > 0),
    effective_from       timestamptz NOT NULL,
    created_at           timestamptz NOT NULL,
    UNIQUE (site_id, version),
    UNIQUE (site_id, effective_from)
);
COMMENT ON TABLE agreement_version IS 'Who shares the revenue of a site from an instant on; a session keeps the version that held when it was paid.';

CREATE TABLE agreement_share (
    agreement_version_id bigint NOT NULL REFERENCES agreement_version,
    fee_kind             text NOT NULL CHECK (fee_kind IN ('electricity', 'service', 'occupancy')),
    party_id             text NOT NULL REFERENCES party,
    share_bps            integer NOT NULL CHECK (share_bps BETWEEN 1 AND 10000),
    PRIMARY KEY (agreement_version_id, fee_kind, party_id)
);
COMMENT ON TABLE agreement_share IS 'One party''s share of one fee kind; the shares of a fee kind sum to 10000.';
COMMENT ON COLUMN agreement_share.share_bps IS 'Basis points: 10000 is the whole fee.';

CREATE FUNCTION check_agreement_shares() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    bad record;
BEGIN
    SELECT fee_kind, sum(share_bps) AS bps INTO bad
      FROM agreement_share WHERE agreement_version_id = NEW.agreement_version_id
     GROUP BY fee_kind HAVING sum(share_bps) <> 10000 LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'agreement % shares % bps of %, not 10000',
            NEW.agreement_version_id, bad.bps, bad.fee_kind
            USING ERRCODE = 'check_violation', CONSTRAINT = 'agreement_share_whole';
    END IF;
    RETURN NULL;
END
$$;
CREATE CONSTRAINT TRIGGER agreement_share_whole AFTER INSERT ON agreement_share
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION check_agreement_shares();
CREATE TRIGGER agreement_version_immutable BEFORE UPDATE OR DELETE ON agreement_version
    FOR EACH ROW EXECUTE FUNCTION forbid_change();
CREATE TRIGGER agreement_share_immutable BEFORE UPDATE OR DELETE ON agreement_share
    FOR EACH ROW EXECUTE FUNCTION forbid_change();
