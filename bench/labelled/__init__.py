"""Trainings whose health is known: healthy nets, and nets with one fault whose place and cause are known."""
