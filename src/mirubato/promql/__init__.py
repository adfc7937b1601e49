"""PromQL: parse, plan, one await for the samples, evaluate."""
