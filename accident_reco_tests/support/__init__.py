"""What tests of several folders share: the third model as an installed package, Dagster over GraphQL."""
