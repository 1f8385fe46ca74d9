"""Asking language models for workflows, which have rules for when there is none."""

from activities.models.asking import ModelActivities as ModelActivities
