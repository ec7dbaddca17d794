"""Helpers."""
from . import rnn as rnn
