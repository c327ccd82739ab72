-- Rows that record what happened are never changed: corrections are new rows.
CREATE FUNCTION forbid_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'rows of % are immutable: % refused', TG_TABLE_NAME, TG_OP
        USING ERRCODE = 'restrict_violation';
END
$$;
COMMENT ON FUNCTION forbid_change() IS 'Trigger body that refuses UPDATE, DELETE and TRUNCATE on immutable tables.';
