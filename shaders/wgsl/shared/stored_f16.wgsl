enable f16;
alias stored = f16;
