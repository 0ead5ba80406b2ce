"""Thresholds: every line that a rule for trainings draws, in one place, each with the reason why it is there."""

ATTENUATION = 1e3
"""Gradient at one end over that at the other; AutoTrainer and torchmortem take 1e3 too, of parameters' gradients."""
EFFECTIVE_ADAM, EFFECTIVE_RATIO = 0.5, 1e-5
"""A small gradient does its work where Adam's epsilon takes less than half and a step moves 1e-5 of the weight."""
STEEPEST = 0.5
"""Share of a law's whole drop that lies at one layer: then that layer is the cause, not depth."""
SHRINKS = 0.9
"""Factor of the signal's variance per layer below which (above whose inverse) it shrinks (grows) like the gradient."""
SPARSE = 0.9
"""Zero share of an activation that is no longer ReLU's half."""
SUBNORMAL = 0.25
"""Share of the gradient's entries that are not 0 which are below the smallest normal number."""
LOST = 0.5
"""Share of entries with gradient that a step left bit for bit: more than half of the steps' work is rounded away."""
ADAM = 0.2
"""Adam's factor: below it epsilon takes four fifths of the update; there the gradient is a quarter of epsilon."""
RATIO_LOW, RATIO_HIGH, RATIO_WILD = 1e-5, 0.2, 0.5
"""Update over weight. torchmortem: 1e-5 to 0.1; TheDeepChecker: 1e-4 to 0.1. Healthy SGD goes below 1e-4 late in a
run, and healthy small convolutions under Adam keep to 0.11. For the lower line the larger of two halves counts; at
1e-5 a weight needs 100,000 steps to change by its own size. Above 0.2 is a warning where the loss does not fall (a head
on frozen layers learns well at 0.22), above 0.5 a finding."""
PATIENCE = 32
"""Steps read before a loss that does not fall is held against large steps: a head on frozen layers takes 15."""
OPENING = 16
"""Steps read that a branch which begins at 0 takes to open: before, gradient and updates behind it are 0 or tiny."""
SETTLED = 5
"""Steps read before what they do to weights is judged: Adam's first ones are the largest, a warm-up starts at 0."""
ACTIVE_RATE = 0.1
"""Steps with a rate above this share of the largest are judged: a warm-up and a decayed rate are no fault."""
DEAD_BORN, DEAD_MADE, DEAD_SOME, DEAD_SAMPLES = 0.5, 0.6, 0.25, 256
"""Shares of a layer's channels: dead from the start, by training, worth a note. Where the input varies, random weights
leave next to none silent in 256 samples; a high rate costs healthy ReLU nets a third, and up to a half (12 of 24)."""
IDLE = 0.01
"""Variance over mean square of what a layer gets, below which its channels' silence is no fault of its own: random
weights leave half of a ReLU layer silent where all inputs are alike."""
SATURATED = 0.5
"""Share of an activation's entries where its slope is below 0.05; 0.03 for tanh of a standard Gaussian."""
DEPENDENCE = 1e-6
"""Variance across samples over mean square: outputs vary by a thousandth of their size or less."""
SYMMETRIC = 0.5
"""Share of channels that start as copies of another; random weights have none."""
SKIPPED, SETTLING = 0.2, 10
"""Share of steps that the scaler skipped; the first ones find the scale."""
INVARIANT = 1e-3
"""Gradient of a bias over that of its weight where a shift changes nothing; about 1e-7 in float32."""
