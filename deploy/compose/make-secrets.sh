#!/bin/sh
# Generates every missing secret as a file that only the owner and containers can read, and an empty settings.env.
# Safe to repeat.
set -eu
cd "$(dirname "$0")"
mkdir -p secrets
chmod 700 secrets
[ -e settings.env ] || printf '# Settings of the platform (docs/pages/reference/settings.md): NAME=value.\n' >settings.env

random() { head -c 24 /dev/urandom | od -An -tx1 | tr -d ' \n'; }
# Containers run as other users, so a file must be readable; the folder is closed to other users of the machine.
keep() { [ -s "secrets/$1" ] || printf '%s' "$2" >"secrets/$1"; chmod 644 "secrets/$1"; }
login() {
  keep "$1_password" "$(random)"
  keep "$2" "postgresql+psycopg2://$3:$(cat "secrets/$1_password")@postgres:5432/$4"
}

keep admin_password "$(random)"
keep alert_secret "$(random)"
keep grafana_password "$(random)"
login postgres database_admin_url postgres postgres
login owner database_url platform platform
login auth auth_database_url platform_auth platform
login services services_database_url platform_services platform
login console console_database_url platform_console platform
login reader reader_database_url platform_reader platform
login dagster dagster_database_url dagster dagster
login mlflow mlflow_database_url mlflow mlflow
keep redis_password "$(random)"
keep broker_url "redis://:$(cat secrets/redis_password)@redis:6379/0"
keep s3_access_key "$(random)"
keep s3_secret_key "$(random)"
access=$(cat secrets/s3_access_key) secret=$(cat secrets/s3_secret_key)
keep s3_credentials "[default]
aws_access_key_id = $access
aws_secret_access_key = $secret
"
keep s3_identities "{\"identities\":[{\"name\":\"platform\",\"credentials\":[{\"accessKey\":\"$access\",\"secretKey\":\"$secret\"}],\"actions\":[\"Read\",\"Write\",\"List\",\"Tagging\"]}]}"
