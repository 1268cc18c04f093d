-- Who may do what in Postgres. Every step looks first and may be done again. Told by settings of the transaction: `stalewatch.app`, the server's
-- role; `stalewatch.secret`, its password if it has to be made; `stalewatch.events`, whether its events are in this database; and
-- `stalewatch.first`, whether the schema of events may still have to be made.
DO $arrange$
DECLARE
    app      constant text := current_setting('stalewatch.app');
    secret   constant text := nullif(current_setting('stalewatch.secret'), '');
    events   constant boolean := current_setting('stalewatch.events')::boolean;
    first    constant boolean := current_setting('stalewatch.first')::boolean;
    mighty   constant boolean := (SELECT rolsuper FROM pg_roles WHERE rolname = current_user);
    database constant name := current_database();
    keeper   constant text := 'stalewatch_audit';
    wanted   record;
    thing    record;
BEGIN
    IF app = current_user THEN
        RAISE EXCEPTION 'the server''s role and the one that separates it are both %', app USING ERRCODE = 'invalid_role_specification';
    END IF;
    -- Roles belong to the whole of Postgres: another database's arranging may be a moment ahead.
    IF to_regrole(quote_ident(keeper)) IS NULL THEN
        BEGIN
            EXECUTE format('CREATE ROLE %I NOLOGIN', keeper);
        EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
        END;
    END IF;
    IF to_regrole(quote_ident(app)) IS NULL THEN
        BEGIN
            EXECUTE format('CREATE ROLE %I LOGIN PASSWORD %L', app, secret);
        EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
        END;
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = app AND (rolsuper OR rolcreaterole)) THEN
        RAISE EXCEPTION 'the role % is a superuser or may create roles, and so may do anything', app USING ERRCODE = 'invalid_role_specification';
    END IF;
    IF EXISTS (
        SELECT FROM pg_auth_members m WHERE m.member = to_regrole(quote_ident(app)) AND m.roleid = to_regrole(quote_ident(keeper))
    ) THEN
        EXECUTE format('REVOKE %I FROM %I', keeper, app);
    END IF;
    -- Only a member may give something to another role.
    IF NOT mighty AND NOT pg_has_role(keeper, 'MEMBER') THEN
        EXECUTE format('GRANT %I TO CURRENT_USER', keeper);
    END IF;
    IF NOT mighty AND NOT pg_has_role(app, 'MEMBER') THEN
        EXECUTE format('GRANT %I TO CURRENT_USER', app);
    END IF;

    -- The owner of a database may drop it.
    IF (SELECT pg_has_role(app, datdba, 'MEMBER') FROM pg_database WHERE datname = database) THEN
        EXECUTE format('ALTER DATABASE %I OWNER TO CURRENT_USER', database);
    END IF;
    EXECUTE format('GRANT CONNECT, TEMPORARY ON DATABASE %I TO %I', database, app);

    IF events AND to_regnamespace('events') IS NULL THEN
        EXECUTE format('CREATE SCHEMA events AUTHORIZATION %I', app);
    END IF;
    FOR wanted IN
        SELECT * FROM (VALUES ('audit', keeper), ('control', current_user::text), ('events', CASE WHEN events THEN app END)) AS w (schema, owner)
        WHERE owner IS NOT NULL AND to_regnamespace(schema) IS NOT NULL
    LOOP
        IF (SELECT nspowner FROM pg_namespace WHERE nspname = wanted.schema) <> to_regrole(quote_ident(wanted.owner)) THEN
            EXECUTE format('ALTER SCHEMA %I OWNER TO %I', wanted.schema, wanted.owner);
        END IF;
        FOR thing IN
            SELECT c.oid::regclass::text AS name FROM pg_class c
            WHERE c.relnamespace = to_regnamespace(wanted.schema) AND c.relkind IN ('r', 'p', 'v', 'm', 'S')
              AND c.relowner <> to_regrole(quote_ident(wanted.owner))
              -- A sequence of a column goes with its table.
              AND NOT EXISTS (
                  SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype IN ('a', 'i') AND c.relkind = 'S')
            ORDER BY c.oid
        LOOP
            EXECUTE format('ALTER TABLE %s OWNER TO %I', thing.name, wanted.owner);
        END LOOP;
        FOR thing IN
            SELECT p.oid::regprocedure::text AS name FROM pg_proc p
            WHERE p.pronamespace = to_regnamespace(wanted.schema) AND p.proowner <> to_regrole(quote_ident(wanted.owner))
        LOOP
            EXECUTE format('ALTER ROUTINE %s OWNER TO %I', thing.name, wanted.owner);
        END LOOP;
    END LOOP;
    IF to_regclass('_sqlx_migrations') IS NOT NULL THEN
        IF (SELECT relowner FROM pg_class WHERE oid = to_regclass('_sqlx_migrations')) <> to_regrole(quote_ident(current_user)) THEN
            ALTER TABLE _sqlx_migrations OWNER TO CURRENT_USER;
        END IF;
        EXECUTE format('REVOKE ALL ON _sqlx_migrations FROM %I', app);
        EXECUTE format('GRANT SELECT ON _sqlx_migrations TO %I', app);
    END IF;

    EXECUTE format('REVOKE ALL ON SCHEMA audit FROM PUBLIC, %I', app);
    EXECUTE format('REVOKE ALL ON ALL TABLES IN SCHEMA audit FROM PUBLIC, %I', app);
    EXECUTE format('REVOKE ALL ON ALL ROUTINES IN SCHEMA audit FROM PUBLIC, %I', app);
    EXECUTE format('GRANT USAGE ON SCHEMA audit TO %I', app);
    EXECUTE format('GRANT SELECT ON ALL TABLES IN SCHEMA audit TO %I', app);
    EXECUTE format('GRANT EXECUTE ON FUNCTION audit.append(text, bytea) TO %I', app);
    EXECUTE format('REVOKE ALL ON SCHEMA control FROM %I', app);
    EXECUTE format('GRANT USAGE ON SCHEMA control TO %I', app);
    EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA control TO %I', app);
    EXECUTE format('GRANT SELECT ON ALL SEQUENCES IN SCHEMA control TO %I', app);
    EXECUTE format('ALTER DEFAULT PRIVILEGES IN SCHEMA control GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO %I', app);

    -- The first migration of events asks for the right to create schemas, there or not.
    IF events AND first THEN
        EXECUTE format('GRANT CREATE ON DATABASE %I TO %I', database, app);
    ELSE
        EXECUTE format('REVOKE CREATE ON DATABASE %I FROM %I', database, app);
    END IF;
END
$arrange$
