"""Moving distributions over aligned groups: the `mass` rules, and those of the released code."""
