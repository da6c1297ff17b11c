"""What is checked before the first step of a run, all of it at once.

problems.py   collects what is wrong
values.py     numbers and names of the config
parts.py      classes, tokenizers, bundles: everything that the config names
phases.py     every phase constructed, with batch sizes and the sizes of states
uses.py       which phase reads which mixture, and through which transform
records.py    records of every dataset, a sample or all
labels.py     labels that the config's parts need
storage.py    the working directory and its disk
run.py        all of these, for `dualdub train`
dataset.py    all records of datasets, for `dualdub data check`
"""
