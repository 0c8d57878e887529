"""Answers that learners give, right and wrong, by the notebook whose exercise they answer.

Each module has two tables, `RIGHT` and `WRONG`. A wrong answer stands beside words of the
refusal that tell its author what breaks. `test_bank.py` judges them all.
"""
