"""Conversations to hand on: documents that go back in without loss, and files for people."""
