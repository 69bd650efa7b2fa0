"""The demonstration that `make demo` shows."""

import importlib.machinery
import importlib.util
import os
import sys

from culvert.world import ROOT


class Recorder:
    """A standard output that notes each write."""

    def __init__(self):
        self.writes = []

    def write(self, text):
        self.writes.append(text)

    def flush(self):
        pass

    def isatty(self):
        return False


def test_each_line_is_written_whole(monkeypatch):
    """So that lines of several threads do not run into one another."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    loader = importlib.machinery.SourceFileLoader("demo", os.path.join(ROOT, "scripts", "demo"))
    demo = importlib.util.module_from_spec(importlib.util.spec_from_loader("demo", loader))
    loader.exec_module(demo)
    recorder = Recorder()
    monkeypatch.setattr(sys, "stdout", recorder)
    demo.say("gateway", "one")
    demo.say("agent1", "two")
    assert recorder.writes == [" gateway | one\n", "  agent1 | two\n"]
