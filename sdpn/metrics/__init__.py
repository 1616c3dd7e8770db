"""DER, EER and minDCF. Needs no torch."""
