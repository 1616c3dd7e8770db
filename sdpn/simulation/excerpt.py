"""Excerpts of planned conversations, so that a window of training costs no more than its own seconds."""

from __future__ import annotations

from dataclasses import replace

from sdpn.simulation.manifest import Conversation


def excerpt(conversation: Conversation, first: int, num_samples: int) -> Conversation:
    """A part of a conversation that was not mixed yet, as a conversation of its own.

    Args:
        conversation: the conversation.
        first: its first sample; phrases that begin before it are cut there.
        num_samples: its length; it may end after the conversation.
    """
    phrases = []
    for phrase in conversation.phrases:
        onset = phrase.onset - first
        cut = max(0, -onset)
        length = min(phrase.end - phrase.start, num_samples - onset)
        if length > cut:
            phrases.append(
                phrase._replace(start=phrase.start + cut, end=phrase.start + length, onset=onset + cut)
            )
    return replace(conversation, num_samples=num_samples, phrases=tuple(phrases), sha256=None, sketch=None)
