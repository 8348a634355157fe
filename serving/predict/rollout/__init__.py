"""The challenger of a running rollout in a predict process: who answers, and how both versions compare."""
