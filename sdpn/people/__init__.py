"""Known people: voiceprints, and whose voice a speaker of a recording has."""
