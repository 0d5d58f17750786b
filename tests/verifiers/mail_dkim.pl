# Verifies the RSA signatures of a message with Mail::DKIM, which does not know Ed25519. Arguments: a JSON object of TXT records by
# name; the message's file. Prints a line for each signature: its algorithm, and pass or fail.
use strict;
use warnings;
use JSON::PP;
use Mail::DKIM::DNS;
use Mail::DKIM::Verifier;

my ($records, $message) = @ARGV;
open(my $file, '<:raw', $records) or die;
my $txt = decode_json(do { local $/; <$file> });

package Answer;
sub type { 'TXT' }
sub txtdata { ($_[0]->{value}) }

package main;
no warnings 'redefine';
*Mail::DKIM::DNS::query = sub {
    my ($name) = @_;
    $@ = '';
    my $value = $txt->{lc $name};
    return defined $value ? (bless { value => $value }, 'Answer') : ();
};

my $verifier = Mail::DKIM::Verifier->new();
open(my $mail, '<:raw', $message) or die;
while (my $line = <$mail>) { $verifier->PRINT($line); }
$verifier->CLOSE;
for my $signature ($verifier->signatures) {
    next unless $signature->algorithm =~ /^rsa/;
    print join(' ', $signature->algorithm, $signature->domain, $signature->result), "\n";
}
