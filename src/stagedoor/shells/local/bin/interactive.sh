# Read by an interactive sh (ENV, sh(1)): its login may have set a PATH without this folder.
alias stagedoor-get="'${ENV%/*}/stagedoor-get'"
