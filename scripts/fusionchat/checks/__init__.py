"""What a JSON schema cannot say of a configuration: names that exist, choices that fit together."""
