"""The cast of the demo footage: five persons made from one photograph, and their voices."""

from __future__ import annotations

from curation.portrait import Person
from curation.synth_voice import Voice

ANNA = Person("Anna", seed=3)
BORIS = Person(
    "Boris",
    mirrored=True,
    face_width=1.12,
    eye_size=0.86,
    nose_size=1.12,
    jaw_width=1.12,
    suit_hue_deg=200,
    hair_tint=(0.50, 0.42, 0.40),
    skin_tint=(0.93, 0.86, 0.82),
    walls=((150, 120, 96), (92, 70, 58)),
    seed=5,
)
CLARA = Person(
    "Clara",
    face_width=0.93,
    eye_size=1.10,
    nose_size=0.90,
    jaw_width=0.92,
    suit_hue_deg=110,
    hair_tint=(0.95, 0.62, 0.45),
    skin_tint=(1.03, 0.98, 0.96),
    walls=((188, 196, 168), (120, 134, 110)),
    seed=8,
)
DAVID = Person(
    "David",
    mirrored=True,
    face_width=1.05,
    eye_size=0.92,
    nose_size=1.08,
    jaw_width=1.16,
    suit_hue_deg=260,
    hair_tint=(0.35, 0.34, 0.38),
    skin_tint=(0.80, 0.70, 0.62),
    walls=((84, 96, 128), (46, 52, 74)),
    seed=13,
)
EMMA = Person(
    "Emma",
    mirrored=True,
    face_width=0.97,
    eye_size=1.05,
    jaw_width=0.95,
    suit_hue_deg=320,
    hair_tint=(1.10, 1.08, 1.02),
    walls=((200, 176, 170), (140, 112, 116)),
    seed=21,
)

ANNA_VOICE = Voice("en-us+f3", rate_wpm=155, pitch=50, seed=3)
BORIS_VOICE = Voice("en-us+m3", rate_wpm=145, pitch=35, seed=5)
CLARA_VOICE = Voice("en-gb-x-rp+f2", rate_wpm=160, pitch=55, seed=8)
DAVID_VOICE = Voice("en-us+m7", rate_wpm=150, pitch=38, seed=13)
EMMA_VOICE = Voice("en-us+f4", rate_wpm=150, pitch=52, seed=21)
