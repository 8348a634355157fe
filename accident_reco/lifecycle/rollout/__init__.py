"""Rollouts: a version that passed the gate proves itself on live traffic before it becomes champion."""
