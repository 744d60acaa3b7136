"""Anybody's predictions -> the audit of notebook 14, without any training:

    cyborg audit PREDICTIONS.csv --id id --human score --machine machine --groups gender ell --scale 1 6 1

One row an essay: an id, a human score, a machine score made elsewhere, and, where there are any, a second human score, the prompt
and groups of writers. Essays' texts are not needed and not read. Results are written as a study's are, in `results/<name>`.
"""
