#!/bin/sh
# Brings the schema of Temporal's own two databases on PostgreSQL up to the tool's version; repeating
# it is harmless. Runs in temporalio/admin-tools before the server, and again before each upgrade.
# Wants: POSTGRES_SEEDS, POSTGRES_USER, SQL_PASSWORD; takes DB_PORT, SCHEMA_DIR, SQL_TOOL.
set -eu
schema=${SCHEMA_DIR:-/etc/temporal/schema/postgresql/v12}

sql() {
    "${SQL_TOOL:-temporal-sql-tool}" --plugin postgres12 --ep "$POSTGRES_SEEDS" -p "${DB_PORT:-5432}" \
        -u "$POSTGRES_USER" --db "$@"
}

for store in temporal visibility; do
    database=temporal
    [ "$store" = visibility ] && database=temporal_visibility
    echo "Bringing the database $database up to date"
    sql "$database" create
    sql "$database" setup-schema -v 0.0 # does nothing where a later version stands
    sql "$database" update-schema -d "$schema/$store/versioned"
done
